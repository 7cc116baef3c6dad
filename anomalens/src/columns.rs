//! A table of text, its columns as wide as they must be.

use std::fmt::Write;

/// The rows, each a line; no line ends in spaces.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_begin_below_each_other() {
        let rows = [["a", "bc", ""], ["größer", "d", "e"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "a       bc\ngrößer  d   e\n");
    }
}
