//! How a convolution or a pooling moves over an image.

/// Steps, borders and gaps of a kernel on an image, rows first; ONNX's `strides`, `pads` and `dilations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Steps from one output to the next: rows, columns.
    pub strides: [usize; 2],
    /// Rows above, columns to the left, rows below, columns to the right that are added to the image.
    pub pads: [usize; 4],
    /// Steps from one place of the kernel to the next: rows, columns.
    pub dilations: [usize; 2],
}

impl Window {
    /// The same step in both directions, the same border on all four sides, a dense kernel.
    pub const fn square(stride: usize, pad: usize) -> Self {
        Self { strides: [stride; 2], pads: [pad; 4], dilations: [1; 2] }
    }

    /// Neighbouring blocks of the kernel's own size, without a border.
    pub const fn blocks(kernel: [usize; 2]) -> Self {
        Self { strides: kernel, pads: [0; 4], dilations: [1; 2] }
    }

    /// What is added before and after a direction: 0 is rows, 1 columns.
    pub fn border(&self, direction: usize) -> [usize; 2] {
        [self.pads[direction], self.pads[direction + 2]]
    }

    /// Length of the image that a kernel of `kernel` places sees at once; `None` for one without places, and beyond all numbers.
    pub fn reach(&self, direction: usize, kernel: usize) -> Option<usize> {
        kernel.checked_sub(1)?.checked_mul(self.dilations[direction])?.checked_add(1)
    }

    /// Outputs along an image of `side`, and what is left of the padded image at its end that no step reaches; `None` where the
    /// kernel does not fit in.
    pub fn outputs(&self, direction: usize, side: usize, kernel: usize) -> Option<(usize, usize)> {
        let [before, after] = self.border(direction);
        let padded = side.checked_add(before)?.checked_add(after)?;
        let free = padded.checked_sub(self.reach(direction, kernel)?)?;
        let steps = free.checked_div(self.strides[direction])?;
        (self.dilations[direction] > 0).then_some((steps + 1, free % self.strides[direction]))
    }

    /// The side of the image that makes `outputs` outputs and leaves `rest` rows at its end; `None` where the border is longer.
    pub fn image(&self, direction: usize, outputs: usize, kernel: usize, rest: usize) -> Option<usize> {
        let [before, after] = self.border(direction);
        let steps = outputs.checked_sub(1)?.checked_mul(self.strides[direction])?;
        let padded = steps.checked_add(self.reach(direction, kernel)?)?.checked_add(rest)?;
        padded.checked_sub(before)?.checked_sub(after)
    }
}
