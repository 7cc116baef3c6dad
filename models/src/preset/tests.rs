use super::*;

/// The built-in tiny preset with other lines at the end, which are those of `[translate]`.
fn tiny_with(lines: &str) -> Result<Preset, PresetError> {
    Preset::parse("test", &format!("{}{lines}", include_str!("../../presets/tiny.toml")))
}

#[test]
fn every_builtin_preset_loads_under_its_name() {
    for name in Preset::builtin_names() {
        assert_eq!(Preset::load(name).unwrap().name, name);
    }
    let demo = Preset::load("demo").unwrap();
    assert_eq!((demo.image.size, demo.channels()), (64, 4));
    assert_eq!((demo.translate.steps, demo.translate.spacing), (Some(49), 2.0));
}

#[test]
fn steps_are_every_level_unless_the_preset_says_otherwise() {
    let silent = tiny_with("").unwrap();
    assert_eq!((silent.translate.steps, silent.translate.spacing), (None, 1.0));
    let text = toml::to_string(&silent).unwrap();
    let translate = &text[text.find("[translate]").unwrap()..];
    assert!(!translate.contains("steps") && !translate.contains("spacing"), "{translate}");
    let spaced = tiny_with("steps = 20\nspacing = 1.5\n").unwrap();
    assert_eq!((spaced.translate.steps, spaced.translate.spacing), (Some(20), 1.5));
    assert_eq!(Preset::parse("again", &toml::to_string(&spaced).unwrap()).unwrap(), spaced);
    assert_eq!(tiny_with("steps = 50\n").unwrap().translate.spacing, 1.0);
}

#[test]
fn impossible_steps_are_refused() {
    for (lines, key, expected) in [
        ("steps = 0", "translate.steps", "1..=50"),
        ("steps = 51", "translate.steps", "1..=50"),
        ("steps = 5\nspacing = 0.5", "translate.spacing", "from 1 to 4"),
        ("steps = 5\nspacing = nan", "translate.spacing", "from 1 to 4"),
        ("steps = 5\nspacing = 4.5", "translate.spacing", "from 1 to 4"),
        ("spacing = 2.0", "translate.spacing", "translate.steps"),
    ] {
        let message = tiny_with(lines).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(expected), "{lines}: {message}");
    }
}
