//! The points of a grid, by the names under which a store keeps what they make.

use anomalens_method::ddim::GradientScale;
use anomalens_models::schedule::NoiseLevel;

use crate::evaluate::record::Record;

/// A noise level, and the scale that guides the way back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// L.
    pub level: NoiseLevel,
    /// s; `None` for a round trip, where nothing is scored.
    pub scale: Option<GradientScale>,
}

impl Point {
    /// L and s, as the method has them.
    pub fn pair(&self) -> (NoiseLevel, GradientScale) {
        (self.level, self.scale.unwrap_or(GradientScale::NONE))
    }

    /// The name: it heads columns and files.
    pub fn name(&self) -> String {
        match self.scale {
            Some(scale) => format!("L{}_s{}", self.level, scale.get()),
            None => format!("L{}", self.level),
        }
    }

    /// L and s as a person reads them.
    pub fn words(&self) -> String {
        match self.scale {
            Some(scale) => format!("L = {}, s = {}", self.level, scale.get()),
            None => format!("L = {}", self.level),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let (level, scale) = match name.strip_prefix('L')?.split_once("_s") {
            Some((level, scale)) => (level, Some(GradientScale::new(scale.parse().ok()?).ok()?)),
            None => (name.strip_prefix('L')?, None),
        };
        Some(Self { level: NoiseLevel::new(level.parse().ok()?), scale })
    }

    /// The points that a record is of, in its order; `None` if it is one of an evaluation.
    pub fn of(record: &Record) -> Option<Vec<Self>> {
        record.networks.iter().map(|network| Self::parse(&network.method)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        for (level, scale) in [(500, Some(10.0)), (3, Some(0.125)), (250, Some(0.0)), (1000, None)] {
            let scale = scale.map(|scale| GradientScale::new(scale).unwrap());
            let point = Point { level: NoiseLevel::new(level), scale };
            assert_eq!(Point::parse(&point.name()), Some(point));
        }
        for wrong in ["ours", "L", "Lx_s1", "L5_s-1", "L5_sNaN", "vae"] {
            assert_eq!(Point::parse(wrong), None, "{wrong}");
        }
    }
}
