use super::*;

/// The built-in tiny preset with other lines at the end, which are those of `[translate]`.
fn tiny_with(lines: &str) -> Result<Preset, PresetError> {
    Preset::parse("test", &format!("{}{lines}", include_str!("../../presets/tiny.toml")))
}

/// They translate the images that the demos do.
#[test]
fn the_demos_of_the_comparison_methods_take_the_demos_images() {
    for (demo, others) in [
        ("demo", ["demo-vae", "demo-fpgan"]),
        ("demo-radiograph", ["demo-radiograph-vae", "demo-radiograph-fpgan"]),
    ] {
        let image = Preset::load(demo).unwrap().image;
        for other in others {
            assert_eq!(Preset::load(other).unwrap().image, image, "{other}");
        }
    }
}

fn steps(preset: &Preset) -> (Option<usize>, f64) {
    let TranslateDefaults { steps, spacing, .. } = preset.guided().unwrap().translate;
    (steps, spacing)
}

#[test]
fn every_builtin_preset_loads_under_its_name() {
    for name in Preset::builtin_names() {
        assert_eq!(Preset::load(name).unwrap().name, name);
    }
    let demo = Preset::load("demo").unwrap();
    assert_eq!((demo.image.size, demo.channels()), (64, 4));
    assert_eq!(steps(&demo), (Some(25), 1.5));
    assert_eq!(demo.guided().unwrap().translate.solver, Solver::Ab2);
}

#[test]
fn steps_are_every_level_unless_the_preset_says_otherwise() {
    let silent = tiny_with("").unwrap();
    assert_eq!(steps(&silent), (None, 1.0));
    let text = toml::to_string(&silent).unwrap();
    let translate = &text[text.find("[translate]").unwrap()..];
    assert!(!translate.contains("steps") && !translate.contains("spacing"), "{translate}");
    let spaced = tiny_with("steps = 20\nspacing = 1.5\n").unwrap();
    assert_eq!(steps(&spaced), (Some(20), 1.5));
    let again = Preset::parse("again", &toml::to_string(&spaced).unwrap()).unwrap();
    assert_eq!(Preset { train: spaced.train.clone(), ..again }, spaced);
    assert_eq!(steps(&tiny_with("steps = 50\n").unwrap()).1, 1.0);
}

#[test]
fn steps_are_algorithm_1s_unless_the_preset_says_otherwise() {
    let told = |preset: &Preset| {
        let TranslateDefaults { solver, guidance_interval, .. } = preset.guided().unwrap().translate;
        (solver, guidance_interval)
    };
    let silent = tiny_with("").unwrap();
    assert_eq!(told(&silent), (Solver::Euler, None));
    let text = toml::to_string(&silent).unwrap();
    assert!(!text.contains("solver") && !text.contains("guidance_interval"), "{text}");
    let lines = "steps = 20\nsolver = 'ab2'\nguidance_interval = [3, 40]\n";
    let preset = tiny_with(lines).unwrap();
    assert_eq!(told(&preset), (Solver::Ab2, Some(GuidanceInterval::new(3, 40).unwrap())));
    let again = Preset::parse("again", &toml::to_string(&preset).unwrap()).unwrap();
    assert_eq!(told(&again), told(&preset));
    assert_eq!("3:40".parse(), Ok(GuidanceInterval::new(3, 40).unwrap()));
    for (text, words) in [("40:3", "LO at most HI"), ("3", "two noise levels"), ("3:-4", "'3:-4'")] {
        let message = text.parse::<GuidanceInterval>().unwrap_err().to_string();
        assert!(message.contains(words), "{text}: {message}");
    }
    assert_eq!("rk4".parse::<Solver>().unwrap_err().to_string(), "found 'rk4', expected euler or ab2");
}

/// The built-in tiny preset with lines at the end of a network's table.
fn tiny_network(table: &str, lines: &str) -> Result<Preset, PresetError> {
    let text = include_str!("../../presets/tiny.toml");
    let end = text.find(&format!("[{table}]")).unwrap();
    let end = end + text[end..].find("classes = 2\n").unwrap();
    Preset::parse("test", &format!("{}{lines}\n{}", &text[..end], &text[end..]))
}

/// Bundles name their files by hash and the trainer compares presets: what an old preset says is written as it was.
#[test]
fn switches_that_are_not_used_are_not_written_down() {
    let manifest: serde_json::Value = serde_json::from_str(include_str!("../../demo/manifest.json")).unwrap();
    let written = serde_json::to_string(&manifest["preset"]).unwrap();
    let preset: Preset = serde_json::from_str(&written).unwrap();
    assert_eq!(serde_json::to_string(&preset).unwrap(), written);
    let Guided { unet, classifier, .. } = preset.guided().unwrap();
    assert!(unet.learn_sigma && unet.conv_resample && classifier.conv_resample);
    assert_eq!((unet.heads_up, classifier.pool), (None, Pool::Attention));

    let lines = "heads_up = { count = 2 }\nconv_resample = false\nlearn_sigma = false\nnorm_groups = 8\nnorm_epsilon = 1e-6";
    let other = tiny_network("unet", lines).unwrap();
    assert_eq!(other.guided().unwrap().unet.heads_up, Some(Heads::Count(2)));
    assert_eq!(other.guided().unwrap().unet.norm(), Norm { groups: 8, epsilon: 1e-6 });
    assert_eq!((unet.norm(), classifier.norm()), (Norm::default(), Norm::default()));
    assert_eq!(
        (other.guided().unwrap().unet_out_channels(4), preset.guided().unwrap().unet_out_channels(4)),
        (4, 8)
    );
    let again = Preset::parse("again", &toml::to_string(&other).unwrap()).unwrap();
    assert_eq!(again.guided().unwrap().unet, other.guided().unwrap().unet);
}

#[test]
fn multipliers_are_whole_or_not() {
    let text =
        include_str!("../../presets/tiny.toml").replace("channel_mult = [1, 2]", "channel_mult = [0.5, 1]");
    let preset = Preset::parse("half", &text).unwrap();
    let widths = |m: usize| {
        preset.guided().unwrap().unet.channel_mult.iter().map(|f| f.channels(m)).collect::<Vec<_>>()
    };
    assert_eq!((widths(64), widths(65)), (vec![32, 64], vec![32, 65]));
    assert_eq!(serde_json::to_string(&preset.guided().unwrap().unet.channel_mult).unwrap(), "[0.5,1]");
    // Whatever quotient of two widths gives the width back.
    for model in 1..200usize {
        for width in 1..400 {
            assert_eq!(
                Multiplier::from(width as f64 / model as f64).channels(model),
                width,
                "{width}/{model}"
            );
        }
    }
}

#[test]
fn impossible_networks_are_refused() {
    for (table, lines, key, expected) in [
        ("unet", "learned = true", "learned", "unknown field"),
        ("unet", "norm_groups = 0", "unet.norm_groups", "at least 1"),
        ("unet", "norm_epsilon = 0.0", "unet.norm_epsilon", "above 0"),
        ("unet", "norm_epsilon = nan", "unet.norm_epsilon", "above 0"),
        ("classifier", "norm_epsilon = 1.0", "classifier.norm_epsilon", "at most 0.1"),
        ("classifier", "pool = \"max\"", "max", "spatial_v2"),
        ("classifier", "conv_resample = false", "classifier.conv_resample", "resblock_updown"),
        ("classifier", "head_count = 2", "classifier.head_channels", "either it or head_count"),
    ] {
        let message = tiny_network(table, lines).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(expected), "{lines}: {message}");
    }
    let text = include_str!("../../presets/tiny.toml");
    for (from, to, key, expected) in [
        ("channel_mult = [1, 2]", "channel_mult = []", "unet.channel_mult", "positive factors"),
        ("channel_mult = [1, 2]", "channel_mult = [1, -2]", "[1, -2] at image.size = 32", "positive factors"),
        ("channel_mult = [1, 2]", "channel_mult = [1, 0.01]", "unet.channel_mult", "positive factors"),
        ("channel_mult = [1, 2]", "channel_mult = [1, inf]", "unet.channel_mult", "positive factors"),
        ("size = 32", "size = 33", "image.size = 33", "halves evenly"),
        ("head_channels = 64\n", "", "classifier.head_channels", "found nothing"),
        ("head_channels = 64\n", "head_count = 2\n", "classifier.head_count", "head_channels in its place"),
    ] {
        let message = Preset::parse("test", &text.replace(from, to)).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(expected), "{to}: {message}");
    }
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
        ("guidance_interval = [51, 60]", "translate.guidance_interval", "1..=50"),
        ("guidance_interval = [9, 8]", "guidance_interval", "LO at most HI"),
        ("solver = 'heun'", "solver", "`euler` or `ab2`"),
    ] {
        let message = tiny_with(lines).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(expected), "{lines}: {message}");
    }
}

/// The built-in tiny preset with other recipes.
fn tiny_trained(tables: &str) -> Result<Preset, PresetError> {
    let text = include_str!("../../presets/tiny.toml");
    let (before, rest) = text.split_once("[train.ddpm]").unwrap();
    let translate = &rest[rest.find("[translate]").unwrap()..];
    Preset::parse("test", &format!("{before}{tables}\n{translate}"))
}

#[test]
fn recipes_are_the_papers_where_nothing_else_is_said() {
    // Sec. 3 of the paper; ema is the reference code's.
    let paper = |r: &Recipe| (r.iterations, r.batch, r.learning_rate, r.ema);
    let silent = tiny_trained("").unwrap();
    let brats = Preset::load("brats256").unwrap();
    for (case, train) in
        [("silent", &silent.train), ("brats256", &brats.train), ("default", &Train::default())]
    {
        assert_eq!(paper(&train.ddpm), (50_000, 10, 1e-4, Some(0.9999)), "{case}");
        assert_eq!(paper(&train.classifier), (20_000, 10, 1e-4, None), "{case}");
        assert_eq!((train.ddpm.accumulate, train.ddpm.dropout, train.ddpm.flip), (1, 0.0, false), "{case}");
    }
    assert_eq!(Preset::load("chexpert256").unwrap().train, brats.train);
    let demo = Preset::load("demo").unwrap().train;
    assert_eq!(paper(&demo.ddpm), (3000, 16, 3e-4, Some(0.999)));
    assert_eq!((demo.classifier.max_level, demo.classifier.cosine), (Some(500), 0.4));
}

/// Bundles and runs repeat the preset; with a recipe in it, those from before it was there would be others.
#[test]
fn recipes_are_not_written_down_with_the_networks() {
    for name in Preset::builtin_names() {
        let preset = Preset::load(name).unwrap();
        let text = serde_json::to_string(&preset).unwrap();
        assert!(!text.contains("train"), "{name}: {text}");
        let again: Preset = serde_json::from_str(&text).unwrap();
        assert_eq!(again.train, Train::default(), "{name}");
    }
}

/// A preset of a one-pass method with further lines at its end.
fn one_pass(method: &str, lines: &str) -> Result<Preset, PresetError> {
    let text = "name = 'p'\ndescription = 'd'\nmethod = 'METHOD'\n[image]\nsize = 64\n[[image.channels]]\nname = 'image'\n";
    Preset::parse("test", &format!("{}{lines}", text.replace("METHOD", method)))
}

const VAE: &str = "[vae]\nwidths = [16, 32, 32]\nlatent_channels = 8\n";
const GAN: &str = "[fixed_point_gan]\ngenerator_channels = 16\ngenerator_blocks = 2\ncritic_channels = 16\ncritic_levels = 4\nclasses = 2\nhealthy_class = 0\n";

#[test]
fn a_preset_has_the_tables_of_its_method_alone() {
    let recipe = "[train.TABLE]\niterations = 5\nbatch = 2\nlearning_rate = 1e-3\n";
    let trained = |table: &str, own: &str| format!("{own}{}", recipe.replace("TABLE", table));
    for (method, lines) in [("vae", trained("vae", VAE)), ("fixed-point-gan", trained("fpgan", GAN))] {
        let preset = one_pass(method, &lines).unwrap();
        assert_eq!(preset.method.name().to_string(), method);
        assert!(preset.method.is_one_pass());
        let iterations =
            if method == "vae" { preset.train.vae.iterations } else { preset.train.fpgan.iterations };
        assert_eq!(iterations, 5, "{method}");
        let again = Preset::parse("again", &toml::to_string(&preset).unwrap()).unwrap();
        assert_eq!(Preset { train: preset.train.clone(), ..again }, preset);
        let error = preset.guided().unwrap_err().to_string();
        assert!(error.contains(&format!("found {method}, expected guided")), "{error}");
    }
    for (method, lines, expected) in [
        ("vae", GAN.to_owned(), "table `fixed_point_gan` in a preset of method `vae`"),
        ("fixed-point-gan", VAE.to_owned(), "table `vae` in a preset of method `fixed-point-gan`"),
        ("guided", VAE.to_owned(), "table `vae` in a preset of method `guided`"),
        ("vae", String::new(), "missing field `vae`"),
        ("fixed-point-gan", String::new(), "missing field `fixed_point_gan`"),
        ("guided", String::new(), "missing field `schedule`"),
        ("vae", format!("{VAE}[schedule]\nkind = 'linear'\ntimesteps = 10\n"), "table `schedule`"),
        ("vae", trained("ddpm", VAE), "table `train.ddpm`"),
        ("vae", trained("fpgan", VAE), "table `train.fpgan`"),
        ("fixed-point-gan", trained("vae", GAN), "table `train.vae`"),
        ("vae", format!("{VAE}width = 3\n"), "unknown field `width`"),
        ("autoencoder", VAE.to_owned(), "unknown variant `autoencoder`"),
        ("vae", VAE.replace("32, 32", "8, 8, 8, 8, 8, 8, 8"), "found 7 halvings"),
        ("vae", VAE.replace(", 32, 32", ""), "vae.widths: found [16]"),
        ("vae", VAE.replace("[16", "[18"), "multiples of 4"),
        ("vae", VAE.replace("[16", "[0"), "vae.widths: found 0"),
        ("vae", VAE.replace("= 8", "= 0"), "vae.latent_channels: found 0"),
        ("fixed-point-gan", GAN.replace("classes = 2", "classes = 1"), "fixed_point_gan.classes: found 1"),
        ("fixed-point-gan", GAN.replace("_class = 0", "_class = 2"), "below fixed_point_gan.classes = 2"),
        (
            "fixed-point-gan",
            GAN.replace("critic_levels = 4", "critic_levels = 7"),
            "critic_levels: found 7 halvings",
        ),
        ("vae", trained("vae", VAE) + "max_level = 5\n", "train.vae.max_level: found 5"),
        ("vae", trained("vae", VAE) + "dropout = 0.1\n", "train.vae.dropout: found 0.1"),
        (
            "fixed-point-gan",
            trained("fpgan", GAN) + "start_from_ddpm = true\n",
            "only a classifier starts so",
        ),
    ] {
        let message = one_pass(method, &lines).unwrap_err().to_string();
        assert!(message.contains(expected), "{method}: {lines}: {message}");
    }
    let guided = Preset::load("tiny").unwrap();
    assert!(guided.vae().is_err() && guided.fixed_point_gan().is_err() && !guided.method.is_one_pass());
}

#[test]
fn impossible_recipes_are_refused() {
    let ddpm =
        |lines: &str| format!("[train.ddpm]\niterations = 5\nbatch = 2\nlearning_rate = 1e-3\n{lines}");
    assert!(tiny_trained(&ddpm("accumulate = 2\ndropout = 0.5\nflip = true\nmax_level = 1000")).is_ok());
    for (tables, key, expected) in [
        (ddpm("cosine = 1.1"), "train.ddpm.cosine", "in [0, 1]"),
        (ddpm("ema = 1.0"), "train.ddpm.ema", "in [0, 1)"),
        (ddpm("clip_gradient = 0.0"), "train.ddpm.clip_gradient", "a positive number"),
        (ddpm("max_level = 1001"), "train.ddpm.max_level", "schedule.timesteps = 1000"),
        (ddpm("dropout = 1.0"), "train.ddpm.dropout", "in [0, 1)"),
        (ddpm("dropout = nan"), "train.ddpm.dropout", "in [0, 1)"),
        (ddpm("accumulate = 3"), "train.ddpm.accumulate", "batch = 2"),
        (ddpm("start_from_ddpm = true"), "train.ddpm.start_from_ddpm", "false"),
        (ddpm("steps = 5"), "steps", "unknown field"),
        (ddpm("").replace("iterations = 5", ""), "iterations", "missing field"),
        (
            ddpm("").replace("= 5", "= 0").replace("ddpm", "classifier"),
            "train.classifier.iterations",
            "at least 1",
        ),
        (ddpm("").replace("1e-3", "-1.0"), "train.ddpm.learning_rate", "a positive number"),
        ("[train.unet]".into(), "unet", "unknown field"),
    ] {
        let message = tiny_trained(&tables).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(expected), "{tables}: {message}");
    }
}
