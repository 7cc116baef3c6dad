//! The columns that matter of a table of comma-separated values, row by row.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use csv_core::{ReadRecordResult, Reader};

use super::refuse;
use crate::CohortError;

/// The longest row and the most columns that a table may have.
const LONGEST: usize = 1 << 16;
const MOST: usize = 1 << 10;

/// A table, opened at its first row.
pub(super) struct Table<const N: usize> {
    path: PathBuf,
    file: BufReader<File>,
    reader: Reader,
    /// The row's number as an editor shows it, if no field holds a line break.
    row: u64,
    columns: [usize; N],
}

impl<const N: usize> Table<N> {
    /// Opens a table whose first row names its columns.
    ///
    /// Errors: [`CohortError::Source`], [`CohortError::Import`] for a column that is not there.
    pub fn open(path: &Path, names: [&str; N]) -> Result<Self, CohortError> {
        let file =
            File::open(path).map_err(|source| CohortError::Source { path: path.to_owned(), source })?;
        let (file, reader) = (BufReader::new(file), Reader::new());
        let mut table = Self { path: path.to_owned(), file, reader, row: 0, columns: [0; N] };
        let header = table.record()?.unwrap_or_default();
        for (place, name) in table.columns.iter_mut().zip(names) {
            *place = header.iter().position(|column| column.trim() == name).ok_or_else(|| {
                let found = format!("found no column '{name}' in the first row");
                refuse(path, found, "CheXpert's train.csv or valid.csv; check the path")
            })?;
        }
        Ok(table)
    }

    /// The next row's number and its fields in the columns asked for.
    ///
    /// Errors: [`CohortError::Source`], [`CohortError::Import`].
    pub fn next(&mut self) -> Result<Option<(u64, [String; N])>, CohortError> {
        let Some(fields) = self.record()? else { return Ok(None) };
        let row = self.row;
        let last = self.columns.iter().max().copied().unwrap_or(0);
        if fields.len() <= last {
            let found = format!("row {row}: found {} fields", fields.len());
            return Err(refuse(
                &self.path,
                found,
                format!("more than {last}; the file was cut short or damaged"),
            ));
        }
        Ok(Some((row, self.columns.map(|column| fields[column].clone()))))
    }

    fn record(&mut self) -> Result<Option<Vec<String>>, CohortError> {
        let (mut text, mut ends) = (vec![0; LONGEST], vec![0; MOST]);
        let (mut length, mut fields) = (0, 0);
        loop {
            let input = self
                .file
                .fill_buf()
                .map_err(|source| CohortError::Source { path: self.path.clone(), source })?;
            let (result, read, wrote, ended) =
                self.reader.read_record(input, &mut text[length..], &mut ends[fields..]);
            self.file.consume(read);
            length += wrote;
            fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    let found =
                        format!("row {}: found more than {LONGEST} bytes or {MOST} fields", self.row + 1);
                    return Err(refuse(&self.path, found, "a table of comma-separated values"));
                }
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::Record => break,
            }
        }
        self.row += 1;
        let starts = [0].into_iter().chain(ends[..fields].iter().copied());
        let field = |(start, &end): (usize, &usize)| String::from_utf8_lossy(&text[start..end]).into_owned();
        Ok(Some(starts.zip(&ends[..fields]).map(field).collect()))
    }
}
