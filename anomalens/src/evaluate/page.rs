//! `report.html`: the scores, the cases and the protocol on one page for a person.

use anyhow::Result;
use minijinja::context;
use minijinja::value::Value;

use super::figure::{Figure, ROWS, Row};
use super::record::Network;
use super::results::Results;
use super::table;
use crate::page;
use crate::picture::{self, Sheet};

/// The page.
///
/// Errors: those of drawing the pictures.
pub fn html(results: &Results, sheet: &Sheet) -> Result<String> {
    let mut cases = Vec::new();
    for (row, strip) in sheet.rows.iter().zip(sheet.strips()) {
        cases.push(context! { label => row.label, source => page::source(&picture::png(&strip)?) });
    }
    let origin = &results.origin;
    let mut bundles: Vec<_> = origin.networks.iter().map(|network| network.bundle.as_str()).collect();
    bundles.dedup();
    let verdict = results.verdict().into_iter().map(|v| context! { text => v.text, wins => v.wins });
    let values = context! {
        title => format!("{} on {}", bundles.join(", "), origin.cohort[0]),
        subtitle => format!(
            "{} slices of {} subjects: {} healthy, {} diseased. {}",
            results.facts.len(),
            results.volumes.len(),
            results.healthy(),
            results.diseased(),
            origin.cohort[1]
        ),
        verdict => verdict.collect::<Vec<_>>(),
        thirds => table::thirds(results),
        methods => results.methods.iter().map(|m| context! { name => m.column.name }).collect::<Vec<_>>(),
        sections => sections(results),
        cases,
        protocol => results.protocol(),
        tables => tables(results),
    };
    Ok(page::render(include_str!("page.html"), values)?)
}

fn sections(results: &Results) -> Vec<Value> {
    let numbered: Vec<(usize, &Row)> = ROWS.iter().enumerate().collect();
    let sections = numbered.chunk_by(|a, b| a.1.section == b.1.section);
    sections
        .map(|rows| {
            let title = rows[0].1.section.title();
            let rows: Vec<_> = rows.iter().map(|(i, row)| line(results, *i, row)).collect();
            context! { title, rows }
        })
        .collect()
}

fn line(results: &Results, i: usize, row: &Row) -> Value {
    let values = results.methods.iter().filter_map(|method| method.figures[i].value);
    let most = values.reduce(f64::max).filter(|_| row.compared());
    let cells: Vec<_> = results.methods.iter().map(|method| cell(&method.figures[i], most)).collect();
    context! { title => row.title, cells }
}

/// A figure as a cell of a table, marked if it is the best one, `most`.
pub fn cell(figure: &Figure, most: Option<f64>) -> Value {
    context! {
        value => figure.value.map_or("-".to_owned(), |v| format!("{v:.4}")),
        interval => figure.interval.map(|interval| format!("{:.3} to {:.3}", interval.low, interval.high)),
        best => most.is_some() && figure.value == most,
    }
}

/// Names and values, as a reader of another day wants them.
fn tables(results: &Results) -> Vec<Value> {
    let origin = &results.origin;
    let mut made: Vec<(String, String)> = vec![("program".into(), origin.tool.clone())];
    for network in &origin.networks {
        let name = network.source.name();
        made.push((format!("{name}: bundle"), format!("{} {}", network.bundle, network.sha256)));
        made.push((format!("{name}: provenance"), network.provenance.clone()));
    }
    made.push(("cohort".into(), format!("{} {}", origin.cohort[0], origin.cohort[2])));
    let thresholds = results.methods.iter().filter_map(|method| {
        Some((format!("{}: the one threshold", method.column.name), format!("{:.6}", method.one_threshold?)))
    });
    made.extend(thresholds);
    let seconds = origin.seconds.iter();
    made.extend(seconds.map(|(m, s)| (format!("{}: time", m.name()), format!("{s:.2} s a slice"))));
    // The cohort's fingerprint, too, is said above.
    let settings = origin.settings.iter().filter(|(name, _)| name != "cohort").cloned();
    let of_methods = origin.networks.iter().flat_map(Network::settings_named);
    let settings: Vec<_> = settings.chain(of_methods).collect();
    vec![page::facts("Settings", &settings), page::facts("Made of", &made)]
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3};

    use super::super::results::tests::results;
    use super::*;
    use crate::picture::{NOT_FOR_DIAGNOSTIC_USE, SheetMap, SheetRow};

    const EVIL: &str = "<script>alert('1')</script>\"&";

    fn sheet() -> Sheet {
        let map = SheetMap {
            name: "ours".into(),
            healthy: None,
            map: Array2::from_elem((8, 8), 0.5),
            mask: Array2::from_elem((8, 8), false),
        };
        let truth = Array2::from_elem((8, 8), false);
        let row = SheetRow { label: EVIL.into(), input: Array3::zeros((1, 8, 8)), maps: vec![map], truth };
        Sheet { lines: vec![], channels: vec!["flair".into()], under: 0, rows: vec![row] }
    }

    #[test]
    fn every_text_is_escaped() {
        let mut evil = results(&[0.5, 0.6, 0.4]);
        evil.origin.tool = EVIL.into();
        evil.origin.cohort = [EVIL; 3].map(String::from);
        evil.origin.settings = vec![(EVIL.into(), EVIL.into())];
        let network = &mut evil.origin.networks[0];
        (network.bundle, network.provenance) = (EVIL.into(), EVIL.into());
        evil.methods[0].column.name = EVIL.into();
        evil.methods[0].column.what = EVIL.into();
        let page = html(&evil, &sheet()).unwrap();
        assert!(!page.contains("<script") && !page.contains("alert('1')"), "{page}");
        assert!(page.matches("&lt;script&gt;alert(").count() > 15, "{page}");
    }

    #[test]
    fn the_page_needs_nothing_from_outside() {
        let page = html(&results(&[0.5, 0.6, 0.4]), &sheet()).unwrap();
        assert!(page.contains("src=\"data:image/png;base64,iVBOR") && page.contains("default-src 'none'"));
        for outside in ["http://", "https://", "<link", "<iframe", "<script", "url(", "@import", "src=\"/"] {
            assert!(!page.contains(outside), "found {outside}");
        }
    }

    #[test]
    fn it_warns_first_and_says_who_wins() {
        let page = html(&results(&[0.5, 0.6, 0.4]), &sheet()).unwrap();
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text} in {page}"));
        assert!(place(NOT_FOR_DIAGNOSTIC_USE) < place("<h1>"));
        assert!(place("class=\"win\">THRESHOLD WINS") < place("<h2>Scores"));
        // The best of the row is marked, and no other.
        place("<td class=\"n best\">0.6000</td>");
        place("<td class=\"n\">0.5000</td>");
        for words in [
            "demo on synthetic-brains",
            "baseline of Meissen",
            "one phantom",
            "12 to 12",
            "noise level",
            "1.50 s",
        ] {
            place(words);
        }
    }
}
