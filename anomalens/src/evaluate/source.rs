//! Where a column's maps come from: a method, or the paper's method at one point of a grid.

use anomalens_method::ddim::GradientScale;
use anomalens_models::schedule::NoiseLevel;

use crate::translator::Method;

/// Whose maps a column has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// A method's.
    Method(Method),
    /// Those of the paper's method at a point of a grid.
    Point(Point),
}

/// A noise level, and the scale that guides the way back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// L.
    pub level: NoiseLevel,
    /// s; `None` for a round trip, where nothing is scored.
    pub scale: Option<GradientScale>,
}

impl From<Method> for Source {
    fn from(method: Method) -> Self {
        Self::Method(method)
    }
}

impl From<Point> for Source {
    fn from(point: Point) -> Self {
        Self::Point(point)
    }
}

impl Source {
    /// Its name: it heads columns and files.
    pub fn name(self) -> String {
        match self {
            Self::Method(method) => method.column().to_owned(),
            Self::Point(point) => point.name(),
        }
    }

    /// What has this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Method::of_column(name).map(Self::Method).or_else(|| Point::of_name(name).map(Self::Point))
    }

    /// The method.
    pub fn method(self) -> Method {
        match self {
            Self::Method(method) => method,
            Self::Point(_) => Method::Ours,
        }
    }

    /// The point of a grid, if it is one.
    pub fn point(self) -> Option<Point> {
        match self {
            Self::Method(_) => None,
            Self::Point(point) => Some(point),
        }
    }
}

impl Point {
    /// L and s, as the method has them.
    pub fn pair(self) -> (NoiseLevel, GradientScale) {
        (self.level, self.scale.unwrap_or(GradientScale::NONE))
    }

    /// L and s as a person reads them.
    pub fn words(self) -> String {
        match self.scale {
            Some(scale) => format!("L = {}, s = {}", self.level, scale.get()),
            None => format!("L = {}", self.level),
        }
    }

    fn name(self) -> String {
        match self.scale {
            Some(scale) => format!("L{}_s{}", self.level, scale.get()),
            None => format!("L{}", self.level),
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        let numbers = name.strip_prefix('L')?;
        let (level, scale) = match numbers.split_once("_s") {
            Some((level, scale)) => (level, Some(GradientScale::new(scale.parse().ok()?).ok()?)),
            None => (numbers, None),
        };
        Some(Self { level: NoiseLevel::new(level.parse().ok()?), scale })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        for (level, scale) in [(500, Some(10.0)), (3, Some(0.125)), (250, Some(0.0)), (1000, None)] {
            let scale = scale.map(|scale| GradientScale::new(scale).unwrap());
            let point = Source::from(Point { level: NoiseLevel::new(level), scale });
            assert_eq!(Source::of_name(&point.name()), Some(point));
        }
        assert_eq!(Source::of_name("ours"), Some(Method::Ours.into()));
        for wrong in ["theirs", "L", "Lx_s1", "L5_s-1", "L5_sNaN", ""] {
            assert_eq!(Source::of_name(wrong), None, "{wrong}");
        }
    }
}
