//! The floating-point type that weights are stored in and networks compute in.

use half::f16;

use super::Element;

/// The floating-point type that weights are stored in and networks compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// 24 bits of mantissa.
    #[default]
    F32,
    /// 11 bits of mantissa, at most 65,504.
    F16,
}

impl Precision {
    /// Both.
    pub const ALL: [Self; 2] = [Self::F32, Self::F16];

    /// What a manifest says: `f32` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// The precision of a name; `None` for another name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }

    /// What values of it are in a file.
    pub fn element(self) -> Element {
        match self {
            Self::F32 => Element::F32,
            Self::F16 => Element::F16,
        }
    }

    /// The nearest value of this type; infinite beyond its range.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => f16::from_f32(value).to_f32(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_the_nearest() {
        // 11 bits: beside 1 lie 1 − 2⁻¹¹ and 1 + 2⁻¹⁰; ties go to the even neighbour.
        for (value, expected) in [
            (1.0 + 0.6 / 1024.0, 1.0 + 1.0 / 1024.0),
            (1.0 + 0.5 / 1024.0, 1.0),
            (65_519.0, 65_504.0),
            (65_520.0, f32::INFINITY),
            (1e-9, 0.0),
        ] {
            assert_eq!(Precision::F16.round(value), expected, "{value}");
            assert_eq!(Precision::F32.round(value), value);
        }
    }
}
