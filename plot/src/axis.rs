//! An axis: which values it holds, and what stands at it.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;

use crate::text::{digits, trimmed};

/// What is laid out along one side.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Its name; may be empty.
    pub label: String,
    /// Where it begins and ends, `low < high`.
    pub range: (f64, f64),
    /// What stands at it.
    pub ticks: Ticks,
}

/// What stands at an axis.
#[derive(Debug, Clone)]
pub enum Ticks {
    /// The values.
    Numbers,
    /// Ten to the power of the values.
    Powers,
    /// These names, at 0, 1, 2, ….
    Names(Vec<String>),
}

impl Axis {
    /// An axis of names, with room beside the first and the last.
    pub fn names(label: &str, names: Vec<String>) -> Self {
        let range = (-0.3, names.len() as f64 - 0.7);
        Self { label: label.to_owned(), range, ticks: Ticks::Names(names) }
    }

    /// An axis of values that holds all of `values` with a little room, within `limits`.
    pub fn around(label: &str, values: impl IntoIterator<Item = f64>, limits: (f64, f64)) -> Self {
        let (low, high) =
            values.into_iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let room = 0.06 * (high - low).max(1e-3);
        let range = ((low - room).max(limits.0), (high + room).min(limits.1));
        Self { label: label.to_owned(), range, ticks: Ticks::Numbers }
    }

    /// As the drawing library wants it, with about so many ticks where they are numbers.
    pub(crate) fn scale(&self, about: usize) -> Scale {
        Scale { range: self.range.0..self.range.1, places: self.places(about) }
    }

    /// Where something stands.
    fn places(&self, about: usize) -> Vec<f64> {
        let (low, high) = self.range;
        let even = || RangedCoordf64::from(low..high).key_points(about);
        match &self.ticks {
            Ticks::Numbers => even(),
            Ticks::Names(names) => (0..names.len()).map(|place| place as f64).collect(),
            Ticks::Powers => {
                let decades = low.floor() as i32..=high.ceil() as i32;
                let marks = |marks: &[f64]| -> Vec<f64> {
                    let all = decades
                        .clone()
                        .flat_map(|decade| marks.iter().map(move |m| f64::from(decade) + m.log10()));
                    all.filter(|place| (low..=high).contains(place)).collect()
                };
                let choices = [marks(&[1.0]), marks(&[1.0, 2.0, 5.0])];
                choices.into_iter().find(|places| places.len() >= 3).unwrap_or_else(even)
            }
        }
    }

    /// What stands there.
    pub(crate) fn text(&self, place: f64) -> String {
        match &self.ticks {
            // As many decimals as tell one tick from the next, and no minus before a zero of rounding.
            Ticks::Numbers => {
                let apart = (self.range.1 - self.range.0) / 20.0;
                let decimals = (-apart.log10()).ceil().max(0.0) as usize;
                trimmed(if place.abs() < apart / 10.0 { 0.0 } else { place }, decimals)
            }
            Ticks::Powers => digits(10f64.powf(place)),
            Ticks::Names(names) => names.get(place.round() as usize).cloned().unwrap_or_default(),
        }
    }
}

/// Values from one end to the other, and where something stands.
pub(crate) struct Scale {
    pub(crate) range: Range<f64>,
    pub(crate) places: Vec<f64>,
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light points are those between ticks: there are none.
        if hint.weight().allow_light_points() { vec![] } else { self.places.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_where_a_reader_wants_them() {
        let axis = |range, ticks| Axis { label: String::new(), range, ticks };
        let texts = |axis: &Axis| axis.places(7).iter().map(|v| axis.text(*v)).collect::<Vec<_>>();
        assert_eq!(texts(&axis((-3.2, 0.1), Ticks::Powers)), ["0.001", "0.01", "0.1", "1"]);
        assert_eq!(texts(&axis((-2.1, -0.9), Ticks::Powers)), ["0.01", "0.02", "0.05", "0.1"]);
        assert!(texts(&axis((0.1, 0.2), Ticks::Powers)).len() >= 3, "too short for 1, 2, 5");
        assert_eq!(texts(&axis((0.0, 1.0), Ticks::Numbers)).first().unwrap(), "0");
        // However near to one another, no two say the same.
        let narrow = texts(&axis((0.9880, 0.9985), Ticks::Numbers));
        assert!(narrow.len() >= 3 && narrow.windows(2).all(|pair| pair[0] != pair[1]), "{narrow:?}");
        assert_eq!(axis((-0.4, 0.4), Ticks::Numbers).text(-1e-17), "0");
        let names = Axis::names("s", vec!["0".into(), "10".into(), "100".into()]);
        assert_eq!(texts(&names), ["0", "10", "100"]);
    }

    #[test]
    fn an_axis_holds_its_values() {
        let axis = Axis::around("Dice", [0.4, 0.8], (0.0, 1.0));
        assert!(axis.range.0 < 0.4 && axis.range.1 > 0.8);
        assert_eq!(Axis::around("Dice", [0.0, 1.0], (0.0, 1.0)).range, (0.0, 1.0));
        // One value, or none, still makes an axis.
        for values in [&[0.5][..], &[]] {
            let axis = Axis::around("Dice", values.iter().copied(), (0.0, 1.0));
            assert!(axis.range.0 < axis.range.1, "{values:?}");
        }
    }
}
