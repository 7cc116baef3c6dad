//! Numbers of the four floating-point types.

use anomalens_models::weights::Element;
use half::{bf16, f16};

/// The numbers of a floating-point tensor as f32: f16 and bf16 exactly, f64 rounded to the nearest. `None` for
/// tensors of other types.
pub fn to_f32(element: Element, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match element {
        Element::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Element::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Element::Bf16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        Element::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Element::I64 | Element::I32 | Element::I16 | Element::I8 | Element::U8 | Element::Bool => {
            return None;
        }
    })
}

/// Where the first number stands that is NaN or infinite, and what it is. No integer is.
pub fn not_finite(element: Element, bytes: &[u8]) -> Option<(usize, f64)> {
    fn first<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Option<(usize, f64)> {
        let values = bytes.as_chunks().0.iter().map(|b| value(*b));
        values.enumerate().find(|(_, value)| !value.is_finite())
    }
    match element {
        Element::F64 => first(bytes, f64::from_le_bytes),
        Element::F32 => first(bytes, |b| f32::from_le_bytes(b).into()),
        Element::F16 => first(bytes, |b| f16::from_le_bytes(b).to_f64()),
        Element::Bf16 => first(bytes, |b| bf16::from_le_bytes(b).to_f64()),
        Element::I64 | Element::I32 | Element::I16 | Element::I8 | Element::U8 | Element::Bool => None,
    }
}

/// The index of the element at `place`, counted row by row.
pub fn index_of(place: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = place;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&axis| {
            let here = rest % axis;
            rest /= axis;
            here
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every f16 and bf16, against the definition of the formats: sign, exponent, fraction.
    #[test]
    fn every_half_is_exact() {
        let value = |bits: u16, exponent: u32, fraction: u32| {
            let (e, f) = (
                u32::from(bits) >> fraction & ((1 << exponent) - 1),
                u32::from(bits) & ((1 << fraction) - 1),
            );
            let bias = (1 << (exponent - 1)) - 1;
            let unit = 2f64.powi(-(fraction as i32));
            let size = match e {
                0 => f64::from(f) * unit * 2f64.powi(1 - bias),
                e if e == (1 << exponent) - 1 && f == 0 => f64::INFINITY,
                e if e == (1 << exponent) - 1 => f64::NAN,
                e => (1.0 + f64::from(f) * unit) * 2f64.powi(e as i32 - bias),
            };
            if bits >> 15 == 1 { -size } else { size }
        };
        for bits in 0..=u16::MAX {
            for (element, exponent, fraction) in [(Element::F16, 5, 10), (Element::Bf16, 8, 7)] {
                let expected = value(bits, exponent, fraction) as f32;
                let found = to_f32(element, &bits.to_le_bytes()).unwrap()[0];
                let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                assert!(same, "{element} {bits:04x}: {found}, expected {expected}");
                assert_eq!(not_finite(element, &bits.to_le_bytes()).is_some(), !expected.is_finite());
            }
        }
    }

    #[test]
    fn f64_is_rounded_to_the_nearest() {
        let third = 1.0f64 / 3.0;
        assert_eq!(to_f32(Element::F64, &third.to_le_bytes()).unwrap(), [third as f32]);
        assert_eq!(to_f32(Element::F64, &1e300f64.to_le_bytes()).unwrap(), [f32::INFINITY]);
        assert_eq!(not_finite(Element::F64, &1e300f64.to_le_bytes()), None);
        assert_eq!(to_f32(Element::I64, &[0; 8]), None);
    }

    #[test]
    fn places_are_indices() {
        assert_eq!(index_of(7, &[2, 3, 2]), [1, 0, 1]);
        assert_eq!(index_of(0, &[]), [0; 0]);
    }
}
