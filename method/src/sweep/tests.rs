use anomalens_models::image::UnitImage;
use anomalens_models::preset::{GuidanceInterval, Solver};
use anomalens_models::schedule::{ScheduleError, Timestep};

use super::*;
use crate::ddim::OnHost;
use crate::testing::*;
use crate::translate::{Options, Procedure, Steps, translate};

fn eps(x: f64, t: Timestep) -> f64 {
    (2.0 * x + 0.01 * t.get() as f64).sin()
}

fn pull(x: f64, _: Timestep) -> f64 {
    0.3 - x
}

fn levels(levels: &[usize]) -> Vec<NoiseLevel> {
    levels.iter().map(|&level| NoiseLevel::new(level)).collect()
}

fn scales(scales: &[f64]) -> Vec<GradientScale> {
    scales.iter().map(|&scale| GradientScale::new(scale).unwrap()).collect()
}

fn run(grid: &Grid, images: Array4<f32>) -> Result<(Vec<Point>, usize), DdimError> {
    let (mut net, mut guide, mut points) = (Fake::new(eps), Fake::new(pull), Vec::new());
    let mut go = |_: &StepDone| ControlFlow::Continue(());
    let mut keep = |point| {
        points.push(point);
        ControlFlow::Continue(())
    };
    let mut stepper = OnHost::new(&mut net, Some(&mut guide));
    sweep(&mut stepper, &linear1000(), grid, images, &mut go, &mut keep)?;
    Ok((points, net.calls.len()))
}

#[test]
fn every_point_is_exactly_what_a_run_of_its_own_gives() {
    let schedule = linear1000();
    let images = images((2, 1, 4, 4));
    let exact = Grid {
        trajectory: Trajectory::every(&schedule, NoiseLevel::new(12)).unwrap(),
        pairs: Grid::product(&levels(&[9, 4, 12]), &scales(&[0.0, 1.5, 40.0])),
        healthy_class: ClassLabel::new(0),
        solver: Solver::Euler,
        guidance_interval: None,
    };
    let interval = Some(GuidanceInterval::new(2, 8).unwrap());
    let fast = Grid { solver: Solver::Ab2, guidance_interval: interval, ..exact.clone() };
    let by = [exact, fast].map(|grid| every_point(&schedule, &grid, &images));
    assert!(by[0].iter().zip(&by[1]).all(|(exact, fast)| exact.healthy != fast.healthy));
}

/// The points of a grid, each of which is what a run of its own gives.
fn every_point(schedule: &Schedule, grid: &Grid, images: &Array4<f32>) -> Vec<Point> {
    let (points, calls) = run(grid, images.clone()).unwrap();
    assert_eq!((points.len(), calls), (9, grid.steps()));
    assert_eq!(calls, 12 + 3 * (4 + 9 + 12), "encoded once");
    let units: Vec<_> =
        images.outer_iter().map(|image| UnitImage::new("test", image.to_owned()).unwrap()).collect();
    for point in &points {
        let options = Options {
            noise_level: point.level,
            steps: Steps::Every,
            solver: grid.solver,
            guidance_interval: grid.guidance_interval,
            procedure: Procedure::Paper,
            scale: point.scale,
            healthy_class: ClassLabel::new(0),
            batch: 1,
            keep_trajectory: false,
        };
        let (mut net, mut guide) = (Fake::new(eps), Fake::new(pull));
        let mut go = |_: &_| ControlFlow::Continue(());
        let mut stepper = OnHost::new(&mut net, Some(&mut guide));
        let alone = translate(&mut stepper, schedule, &units, &options, &mut go).unwrap();
        assert_eq!(point.healthy, alone.healthy, "L {} s {}", point.level, point.scale.get());
    }
    // They do differ from one another.
    assert!(points.windows(2).all(|pair| pair[0].healthy != pair[1].healthy));
    points
}

#[test]
fn what_is_left_of_a_grid_is_what_the_whole_one_gives() {
    let whole = Grid {
        trajectory: Trajectory::every(&linear1000(), NoiseLevel::new(12)).unwrap(),
        pairs: Grid::product(&levels(&[4, 12]), &scales(&[0.0, 1.5, 40.0])),
        healthy_class: ClassLabel::new(0),
        solver: Solver::Euler,
        guidance_interval: None,
    };
    let (points, _) = run(&whole, images((2, 1, 4, 4))).unwrap();
    // One of the higher level, and then two of the lower, for which nothing is encoded beyond it.
    for left in [vec![5], vec![0, 2]] {
        let rest = Grid { pairs: left.iter().map(|&i| whole.pairs[i]).collect(), ..whole.clone() };
        let (again, calls) = run(&rest, images((2, 1, 4, 4))).unwrap();
        assert_eq!(again, left.iter().map(|&i| points[i].clone()).collect::<Vec<_>>());
        assert_eq!((calls, rest.steps()), if left.len() == 1 { (24, 24) } else { (12, 12) });
    }
    assert_eq!(whole.largest_scale().get(), 40.0);
}

#[test]
fn whoever_takes_the_points_can_stop() {
    let grid = Grid {
        trajectory: Trajectory::every(&linear1000(), NoiseLevel::new(3)).unwrap(),
        pairs: Grid::product(&levels(&[3]), &scales(&[1.0, 2.0])),
        healthy_class: ClassLabel::new(0),
        solver: Solver::Euler,
        guidance_interval: None,
    };
    let (mut net, mut guide, mut points) = (Fake::new(eps), Fake::new(pull), 0);
    let mut go = |_: &StepDone| ControlFlow::Continue(());
    let mut stop = |_| {
        points += 1;
        ControlFlow::Break(())
    };
    let images = images((1, 1, 2, 2));
    let mut stepper = OnHost::new(&mut net, Some(&mut guide));
    let error = sweep(&mut stepper, &linear1000(), &grid, images, &mut go, &mut stop).unwrap_err();
    assert!(matches!(error, DdimError::Cancelled { .. }), "{error}");
    assert_eq!(points, 1);
}

#[test]
fn a_level_between_the_steps_is_refused() {
    let grid = Grid {
        trajectory: Trajectory::steps(&linear1000(), NoiseLevel::new(100), 10).unwrap(),
        pairs: Grid::product(&levels(&[35]), &scales(&[1.0])),
        healthy_class: ClassLabel::new(0),
        solver: Solver::Euler,
        guidance_interval: None,
    };
    let error = run(&grid, images((1, 1, 2, 2))).unwrap_err();
    assert!(matches!(error, DdimError::Schedule(ScheduleError::NotVisited { found: 35, .. })), "{error}");
    let through = grid.trajectory.through(&linear1000(), &levels(&[35])).unwrap();
    let grid = Grid { trajectory: through, ..grid };
    assert_eq!(run(&grid, images((1, 1, 2, 2))).unwrap().1, 8, "0, 10, 20, 30, 35 and back");
}
