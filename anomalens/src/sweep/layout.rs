//! Which points, and which steps lead to them.

use anomalens_method::ddim::GradientScale;
use anomalens_method::translate::{Options, Steps};
use anomalens_models::manifest::Manifest;
use anomalens_models::schedule::{NoiseLevel, Schedule, Trajectory};
use anyhow::{Result, bail};

use super::args::GridArgs;
use crate::args::StepCount;
use crate::evaluate::source::Point;
use crate::parts::Settings;
use crate::translate::options;
use crate::translator::{Approach, path};

/// Which points, and which steps lead to them.
#[derive(Debug)]
pub struct Layout {
    /// By rising level and, of one level, rising scale.
    pub points: Vec<Point>,
    /// The steps to the largest level, which stop at every other one.
    pub trajectory: Trajectory,
    /// What the sampler is told beside; its level is the largest, its scale, too.
    pub options: Options,
}

impl Layout {
    /// What the command line asks of a bundle; without scales for round trips.
    ///
    /// Errors: each is one of usage.
    pub fn new(args: &GridArgs, scales: Option<&[f64]>, manifest: &Manifest) -> Result<Self> {
        let schedule = Schedule::new(&manifest.preset.guided()?.schedule)?;
        let mut levels: Vec<NoiseLevel> = args.levels.iter().copied().map(NoiseLevel::new).collect();
        levels.sort_unstable();
        levels.dedup();
        let mut options = Options::defaults(&manifest.preset)?;
        options.noise_level = *levels.last().expect("the command line wants one");
        let scales = match scales {
            None => vec![None],
            Some(scales) => {
                let checked: Result<Vec<_>, _> =
                    scales.iter().map(|scale| GradientScale::new(*scale)).collect();
                let mut checked = checked?;
                checked.sort_unstable_by(|a, b| a.get().total_cmp(&b.get()));
                checked.dedup();
                checked.into_iter().map(Some).collect()
            }
        };
        options.scale = scales.iter().flatten().last().copied().unwrap_or(GradientScale::NONE);
        options.batch = args.job.batch();
        options::path(&args.path, &mut options)?;
        options.steps = steps(args, &levels, &options);
        if let (None, Some(interval)) = (&scales[0], args.path.guidance_interval) {
            bail!("--guidance-interval {interval}: a round trip is not guided; leave it out");
        }
        Approach::Guided(options.clone()).check(&args.bundle, manifest)?;
        args.job.check()?;
        let longest = match options.steps {
            Steps::Spaced { n, spacing } => Trajectory::spaced(&schedule, options.noise_level, n, spacing)?,
            Steps::Every | Steps::Respaced(_) => Trajectory::every(&schedule, options.noise_level)?,
        };
        let trajectory = longest.through(&schedule, &levels)?;
        let points = levels.iter().flat_map(|&level| scales.iter().map(move |&scale| Point { level, scale }));
        Ok(Self { points: points.collect(), trajectory, options })
    }

    /// Everything of it that makes the results what they are.
    pub fn settings(&self) -> Settings {
        let list = |values: Vec<String>| values.join(", ");
        let mut levels: Vec<_> = self.points.iter().map(|point| point.level).collect();
        levels.dedup();
        let scales = self.points.iter().filter(|point| point.level == levels[0]);
        let scales = list(scales.filter_map(|point| Some(point.scale?.get().to_string())).collect());
        let steps = match self.options.steps {
            Steps::Every | Steps::Respaced(_) => "every level".to_owned(),
            Steps::Spaced { n, spacing } => {
                let largest = self.options.noise_level;
                let spaced = if spacing == 1.0 { String::new() } else { format!("^{spacing}") };
                format!(
                    "those of the longest loop, at the levels {largest} (j/{n}){spaced}, and a stop at each noise level"
                )
            }
        };
        let mut settings = vec![
            ("noise levels".to_owned(), list(levels.iter().map(ToString::to_string).collect())),
            ("gradient scales".to_owned(), if scales.is_empty() { "0 (no guidance)".into() } else { scales }),
            ("steps".to_owned(), steps),
        ];
        for level in levels {
            let n = self.trajectory.levels().iter().filter(|l| **l <= level).count() - 1;
            settings.push((steps_to(level), n.to_string()));
        }
        settings.push(("schedule".to_owned(), "paper (Algorithm 1)".to_owned()));
        settings.extend(path(&self.options).map(|(name, value)| (name.to_owned(), value)));
        settings.push(("healthy class".to_owned(), self.options.healthy_class.get().to_string()));
        settings
    }
}

/// The name of the setting that says how many steps a loop to a level makes.
pub fn steps_to(level: NoiseLevel) -> String {
    format!("steps to level {level}")
}

/// The steps of the longest loop. By default so many that a loop has as many as the bundle's own on the average over the levels: all
/// share these steps, so a lower level has fewer of them and the highest has more.
fn steps(args: &GridArgs, levels: &[NoiseLevel], options: &Options) -> Steps {
    match (args.path.steps, options.steps) {
        (None, Steps::Spaced { n, spacing }) => {
            // The step at level l is the n (l/L)^(1/p)-th of n.
            let place = |level: &NoiseLevel| (level.get() as f64).powf(1.0 / spacing);
            let largest = options.noise_level;
            let mean = levels.iter().map(place).sum::<f64>() / levels.len() as f64;
            let n = (n as f64 * place(&largest) / mean).round() as usize;
            Steps::Spaced { n: n.min(largest.get()), spacing }
        }
        (None | Some(StepCount::Count(_) | StepCount::Every), steps) => steps,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::evaluate::source::Source;

    fn layout(more: &[&str]) -> Result<Layout> {
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
        let fixed = ["anomalens", "sweep", "cohort", "--bundle", "demo", "--out", "out"];
        let Command::Sweep(args) = Cli::parse_from(fixed.iter().chain(more)).command else { unreachable!() };
        Layout::new(&args.grid, Some(&args.scales), &Manifest::read(&bundle)?)
    }

    fn steps(layout: &Layout) -> Vec<usize> {
        let settings = layout.settings().into_iter().filter(|(name, _)| name.starts_with("steps to"));
        settings.map(|(_, n)| n.parse().unwrap()).collect()
    }

    #[test]
    fn by_default_a_loop_has_as_many_steps_as_the_bundles_on_the_average() {
        // The bundle makes 25, at the levels L (j/25)^1.5. 29 to level 500, of which one is 400, are 30 with the stop at 300.
        let found = steps(&layout(&["--levels", "500,300,400", "--scales", "10"]).unwrap());
        assert_eq!(found, [21, 26, 30]);
        assert_eq!(steps(&layout(&["--levels", "500", "--scales", "10"]).unwrap()), [25]);
        // A small level has few of the steps, and never more than levels.
        assert_eq!(steps(&layout(&["--levels", "5,500", "--scales", "10"]).unwrap()), [3, 49]);
        assert_eq!(steps(&layout(&["--levels", "3", "--scales", "10"]).unwrap()), [3]);
    }

    #[test]
    fn what_was_asked_for_is_what_is_done() {
        let layout = layout(&["--levels", "500,250,500", "--scales", "10,0,10", "--steps", "50"]).unwrap();
        assert_eq!(steps(&layout), [25, 50], "level 250 is the 25th, and no stop is added");
        let names: Vec<_> = layout.points.iter().map(|point| Source::from(*point).name()).collect();
        assert_eq!(names, ["L250_s0", "L250_s10", "L500_s0", "L500_s10"]);
        let every = self::layout(&["--levels", "20,30", "--scales", "1", "--steps", "every"]).unwrap();
        assert_eq!(steps(&every), [20, 30]);
        // More near the clean image: a lower level has more of the steps than its part of the levels.
        let spaced = ["--levels", "250,500", "--scales", "1", "--steps", "40", "--spacing", "2"];
        assert!(steps(&self::layout(&spaced).unwrap())[0] > 25);
    }
}
