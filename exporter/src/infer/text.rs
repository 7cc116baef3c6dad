//! A preset as a TOML file for people: each key with where it comes from.

use std::fmt::Write;

use anomalens_models::preset::ChannelSpec;

use super::Finding;

/// The tables, in the order that a person reads them in.
const TABLES: [&str; 5] = ["image", "schedule", "unet", "classifier", "translate"];
/// Column that the comments begin at.
const COMMENT: usize = 44;

/// The file. `notes` say something of a whole table.
pub(super) fn text(
    name: &str,
    findings: &[Finding],
    channels: &[ChannelSpec],
    notes: &[(&str, &str)],
) -> String {
    let mut text = format!(
        "# Written by anomalens-export preset. Behind each value stands where it comes from: a tensor of the checkpoint, an\n\
         # option that was given, or a default to think about.\n\
         name = {}\n\
         description = \"The networks of a checkpoint; say here what they were trained on\"\n",
        quoted(name)
    );
    for table in TABLES {
        text.push('\n');
        for (_, note) in notes.iter().filter(|(of, _)| *of == table) {
            let _ = writeln!(text, "# {note}");
        }
        let _ = writeln!(text, "[{table}]");
        for Finding { key, value, from } in findings {
            let Some(key) = key.strip_prefix(table).and_then(|key| key.strip_prefix('.')) else { continue };
            let line = format!("{key} = {value}");
            if from.is_empty() {
                let _ = writeln!(text, "{line}");
            } else {
                let _ = writeln!(text, "{line:<COMMENT$} # {from}");
            }
        }
        if table == "image" {
            text.push_str("\n# How the DICOM series of a channel is recognised; an empty list takes any.\n");
            channels.iter().for_each(|channel| push_channel(&mut text, channel));
        }
    }
    text
}

fn push_channel(text: &mut String, channel: &ChannelSpec) {
    let list = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
    let ChannelSpec { name, modality, any_of, none_of } = channel;
    let _ = write!(
        text,
        "[[image.channels]]\nname = {}\nmodality = [{}]\nany_of = [{}]\nnone_of = [{}]\n",
        quoted(name),
        list(modality),
        list(any_of),
        list(none_of)
    );
}

/// A string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", c as u32),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}
