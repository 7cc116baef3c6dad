//! Attenuation summed up along parallel rays: a map on the plane of the detector.

/// A point of the body: x to the image's right (the patient's left), y to the front, z up, mm from its middle.
pub type Point = [f32; 3];

/// Half the edge of a map, mm: beyond every field of view.
const HALF_MM: f32 = 250.0;

/// A number for each point (x, z) of a grid; what is added to it are path lengths, mm, times an attenuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    step: f32,
    edge: usize,
    values: Vec<f32>,
}

impl Plane {
    /// An empty map with a point every `step` mm.
    pub fn new(step: f32) -> Self {
        let edge = (2.0 * HALF_MM / step) as usize + 1;
        Self { step, edge, values: vec![0.0; edge * edge] }
    }

    /// Points along an edge.
    pub fn edge(&self) -> usize {
        self.edge
    }

    /// The coordinate of a row or column.
    pub fn place(&self, index: usize) -> f32 {
        index as f32 * self.step - HALF_MM
    }

    /// The value of a grid point: rows go from low z to high, columns from low x to high.
    pub fn value(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.edge + column]
    }

    /// The same, to change it.
    pub fn value_mut(&mut self, row: usize, column: usize) -> &mut f32 {
        &mut self.values[row * self.edge + column]
    }

    /// The value at (x, z), interpolated; beyond the map that of its border.
    pub fn at(&self, [x, z]: [f32; 2]) -> f32 {
        let last = (self.edge - 1) as f32;
        let cell = |v: f32| {
            let v = ((v + HALF_MM) / self.step).clamp(0.0, last);
            let i = (v as usize).min(self.edge - 2);
            (i, v - i as f32)
        };
        let ((column, fx), (row, fz)) = (cell(x), cell(z));
        let line = |row: usize| {
            let at = row * self.edge + column;
            self.values[at] * (1.0 - fx) + self.values[at + 1] * fx
        };
        line(row) * (1.0 - fz) + line(row + 1) * fz
    }

    /// Adds a ball of a homogeneous material.
    pub fn ball(&mut self, [x, z]: [f32; 2], radius: f32, attenuation: f32) {
        self.each_near([x, z], [radius; 2], |off| {
            let left = radius * radius - off[0] * off[0] - off[1] * off[1];
            if left > 0.0 { attenuation * 2.0 * left.sqrt() } else { 0.0 }
        });
    }

    /// Adds a tube whose middle line runs through `points`, [x, y, z, radius] each. A part that lies along the rays
    /// counts in full: the tube is a chain of balls of the same volume.
    pub fn tube(&mut self, points: &[[f32; 4]], turn: f32, attenuation: f32) {
        for pair in points.windows(2) {
            let [from, to] = [pair[0], pair[1]];
            let d: [f32; 3] = std::array::from_fn(|a| to[a] - from[a]);
            let length = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt();
            let balls = ((length / (0.5 * from[3].min(to[3]).max(self.step))).ceil() as usize).max(1);
            for i in 0..balls {
                let t = (i as f32 + 0.5) / balls as f32;
                let p: [f32; 4] = std::array::from_fn(|a| from[a] + t * (to[a] - from[a]));
                // A ball thinner than the grid would fall between its points.
                let radius = p[3].max(self.step);
                // Volume of the part of the tube over that of the ball.
                let share = 0.75 * length / balls as f32 * p[3] * p[3] / (radius * radius * radius);
                self.ball([p[0] + turn * p[1], p[2]], radius, attenuation * share);
            }
        }
    }

    /// Adds what `amount` says of each grid point within `reach` of `centre`, as a function of the offset.
    pub fn each_near(&mut self, centre: [f32; 2], reach: [f32; 2], amount: impl Fn([f32; 2]) -> f32) {
        let range = |centre: f32, reach: f32| {
            let index = |v: f32| ((v + HALF_MM) / self.step).ceil().clamp(0.0, self.edge as f32) as usize;
            index(centre - reach)..index(centre + reach)
        };
        let (rows, columns) = (range(centre[1], reach[1]), range(centre[0], reach[0]));
        for row in rows {
            for column in columns.clone() {
                let off = [self.place(column) - centre[0], self.place(row) - centre[1]];
                *self.value_mut(row, column) += amount(off);
            }
        }
    }
}

/// `count` + 1 points of a quadratic curve from `a` over the control point `b` to `c`.
pub fn curve<const N: usize>(
    [a, b, c]: [[f32; N]; 3],
    count: usize,
) -> impl Iterator<Item = [f32; N]> + Clone {
    (0..=count).map(move |i| {
        let t = i as f32 / count as f32;
        let s = 1.0 - t;
        std::array::from_fn(|n| s * s * a[n] + 2.0 * s * t * b[n] + t * t * c[n])
    })
}
