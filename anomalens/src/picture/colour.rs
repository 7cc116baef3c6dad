//! Colours: the inferno map for values, a few fixed ones for text and outlines.

use image::Rgb;

/// Behind everything.
pub const BACKGROUND: Rgb<u8> = Rgb([16, 16, 20]);
/// Labels.
pub const TEXT: Rgb<u8> = Rgb([224, 224, 228]);
/// Less important labels, tile borders.
pub const FAINT: Rgb<u8> = Rgb([128, 128, 136]);
/// The warning; read by everybody before the image.
pub const WARNING: Rgb<u8> = Rgb([255, 190, 60]);
/// Mask outline: neither grey nor anywhere in inferno.
pub const OUTLINE: Rgb<u8> = Rgb([0, 229, 255]);

/// The inferno colour map (Smith and van der Walt, 2015, CC0) by the sixth-degree polynomial that Matt Zucker
/// fitted to it (CC0; at most 7/255 off). Lightness rises evenly with the value, so that equal steps look equal
/// and the map survives a grey printer.
///
/// `value` is clamped to [0, 1]; not a number gives the colour of 0.
pub fn inferno(value: f32) -> Rgb<u8> {
    const COEFFICIENTS: [[f32; 3]; 7] = [
        [0.000_22, 0.001_65, -0.019_48],
        [0.106_51, 0.563_96, 3.932_71],
        [11.602_49, -3.972_85, -15.942_39],
        [-41.704, 17.436_4, 44.354_15],
        [77.162_94, -33.402_36, -81.807_31],
        [-71.319_43, 32.626_06, 73.209_52],
        [25.131_13, -12.242_67, -23.070_33],
    ];
    let t = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
    Rgb(std::array::from_fn(|c| byte(COEFFICIENTS.iter().rev().fold(0.0, |sum, row| sum * t + row[c]))))
}

/// The grey of a value in [0, 1], clamped; not a number is black.
pub fn grey(value: f32) -> Rgb<u8> {
    Rgb([byte(value); 3])
}

/// `under` seen through `over`, which covers it by `alpha` in [0, 1].
pub fn blend(under: Rgb<u8>, over: Rgb<u8>, alpha: f32) -> Rgb<u8> {
    Rgb(std::array::from_fn(|c| {
        byte((f32::from(under[c]) * (1.0 - alpha) + f32::from(over[c]) * alpha) / 255.0)
    }))
}

fn byte(value: f32) -> u8 {
    // `as` saturates, and takes a NaN to 0.
    (value * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lightness(Rgb([r, g, b]): Rgb<u8>) -> f32 {
        0.2126 * f32::from(r) + 0.7152 * f32::from(g) + 0.0722 * f32::from(b)
    }

    #[test]
    fn inferno_has_the_published_colours() {
        const FIT: i16 = 7; // the polynomial's distance from the published table
        // matplotlib's `inferno` at 0, 64/255, 128/255, 191/255, 1.
        let published = [
            (0.0, [0, 0, 4]),
            (0.25, [87, 16, 110]),
            (0.5, [188, 55, 84]),
            (0.75, [249, 142, 9]),
            (1.0, [252, 255, 164]),
        ];
        for (value, expected) in published {
            let found = inferno(value);
            for c in 0..3 {
                let off = i16::from(found[c]) - expected[c];
                assert!(off.abs() <= FIT, "inferno({value}) = {found:?}, published {expected:?}");
            }
        }
    }

    #[test]
    fn lightness_never_falls() {
        let steps: Vec<f32> = (0..=100).map(|i| lightness(inferno(i as f32 / 100.0))).collect();
        for (i, pair) in steps.windows(2).enumerate() {
            assert!(pair[1] >= pair[0] - 0.8, "falls at {i} %: {pair:?}");
        }
        assert!(steps[100] - steps[0] > 200.0);
    }

    #[test]
    fn values_outside_the_range_are_clamped() {
        assert_eq!(inferno(-3.0), inferno(0.0));
        assert_eq!(inferno(7.0), inferno(1.0));
        assert_eq!(inferno(f32::NAN), inferno(0.0));
        assert_eq!(grey(f32::NAN), Rgb([0, 0, 0]));
        assert_eq!(grey(2.0), Rgb([255, 255, 255]));
        assert_eq!(blend(grey(0.0), grey(1.0), 0.0), grey(0.0));
        assert_eq!(blend(grey(0.0), grey(1.0), 1.0), grey(1.0));
    }
}
