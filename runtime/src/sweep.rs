//! The grid over noise levels and gradient scales, on the networks of a bundle.

use std::ops::ControlFlow;

use anomalens_method::ddim::StepDone;
use anomalens_method::sweep::{self, Grid, Point};
use anomalens_method::translate;
use anomalens_models::image::UnitImage;
use ndarray::{Axis, stack};

use crate::bundle::Bundle;
use crate::translate::{TranslateError, stepper_of};

/// Runs a grid on a batch of images, all at once; `found` is given each pair as it is done, as by [`sweep::sweep`]. A pair's
/// healthy version is, bit by bit, what [`crate::translate::translate`] makes of the same batch on the same steps.
///
/// Errors: [`TranslateError`].
pub fn sweep(
    bundle: &mut Bundle,
    images: &[UnitImage],
    grid: &Grid,
    on_step: &mut dyn FnMut(&StepDone) -> ControlFlow<()>,
    found: &mut dyn FnMut(Point) -> ControlFlow<()>,
) -> Result<(), TranslateError> {
    let method = translate::TranslateError::from;
    let (mut stepper, schedule) = stepper_of(bundle, images, grid.healthy_class, grid.largest_scale(), true)?;
    if images.is_empty() {
        return Err(translate::TranslateError::NoImages.into());
    }
    let views: Vec<_> = images.iter().map(|image| image.pixels().view()).collect();
    let all = stack(Axis(0), &views).expect("the shapes were compared with the preset's");
    sweep::sweep(&mut *stepper, schedule, grid, all, on_step, found).map_err(method)?;
    Ok(())
}
