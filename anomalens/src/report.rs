//! `report.html`: what came of a translation, on one page for a person.

use minijinja::context;
use minijinja::value::Value;

use crate::page;

/// What a report says; every text is plain, and escaped when it is written.
pub struct Report {
    /// One line.
    pub title: String,
    /// One line below it: whose networks these are.
    pub subtitle: String,
    /// What a person should look at first.
    pub warnings: Vec<String>,
    /// Tables of names and values, each with its heading.
    pub tables: Vec<(String, Vec<(String, String)>)>,
    /// One sentence each: what was decided and why.
    pub decisions: Vec<String>,
    /// Every slice, in order.
    pub slices: Vec<SliceRow>,
    /// The brain mask that was taken, if there is one.
    pub brain: Option<Picture>,
    /// Pictures that are shown.
    pub pictures: Vec<Picture>,
}

/// A picture as the report shows it.
pub struct Picture {
    /// Under the picture.
    pub caption: String,
    /// A PNG file.
    pub png: Vec<u8>,
}

/// A line of the table of slices.
pub struct SliceRow {
    /// Its number in the input, from 1.
    pub slice: usize,
    /// The source's name.
    pub name: String,
    /// What was found, or why nothing was.
    pub found: Result<Figures, String>,
}

/// The figures of one slice.
pub struct Figures {
    /// Mean of the map.
    pub mean: f64,
    /// Maximum of the map.
    pub maximum: f32,
    /// Otsu's threshold.
    pub threshold: f32,
    /// Pixels in the mask.
    pub area: usize,
    /// Pixels of the slice.
    pub pixels: usize,
    /// How far out it is of what the bundle was trained on, 1 at the limit; `None` where that is not known.
    pub unlike: Option<f64>,
}

/// The page.
///
/// Errors: those of the template.
pub fn html(report: &Report) -> Result<String, minijinja::Error> {
    let tables = report.tables.iter().map(|(heading, rows)| page::facts(heading, rows));
    let shown =
        |picture: &Picture| context! { caption => picture.caption, source => page::source(&picture.png) };
    let pictures = report.pictures.iter().map(shown);
    let values = context! {
        title => report.title,
        subtitle => report.subtitle,
        warnings => report.warnings,
        brain => report.brain.as_ref().map(shown),
        pictures => pictures.collect::<Vec<_>>(),
        done => report.slices.iter().filter(|row| row.found.is_ok()).count(),
        slices => report.slices.iter().map(line).collect::<Vec<_>>(),
        tables => tables.collect::<Vec<_>>(),
        decisions => report.decisions,
    };
    page::render(include_str!("report.html"), values)
}

fn line(row: &SliceRow) -> Value {
    let (slice, name) = (row.slice, &row.name);
    match &row.found {
        Ok(f) => {
            let figures = [
                format!("{:.4}", f.mean),
                format!("{:.4}", f.maximum),
                format!("{:.4}", f.threshold),
                f.area.to_string(),
                format!("{:.2}", 100.0 * f.area as f64 / f.pixels.max(1) as f64),
                f.unlike.map_or("not known".to_owned(), |unlike| format!("{unlike:.2}")),
            ];
            context! { slice, name, figures }
        }
        Err(failed) => context! { slice, name, failed },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::NOT_FOR_DIAGNOSTIC_USE;

    const EVIL: &str = "<script>alert('1')</script>\"&\u{7}";

    fn report() -> Report {
        let figures =
            Figures { mean: 0.5, maximum: 2.0, threshold: 0.25, area: 16, pixels: 64, unlike: Some(1.375) };
        Report {
            title: EVIL.into(),
            subtitle: EVIL.into(),
            warnings: vec![EVIL.into()],
            tables: vec![(EVIL.into(), vec![(EVIL.into(), EVIL.into())])],
            decisions: vec![EVIL.into()],
            slices: vec![
                SliceRow { slice: 0, name: EVIL.into(), found: Ok(figures) },
                SliceRow { slice: 1, name: EVIL.into(), found: Err(EVIL.into()) },
            ],
            brain: Some(Picture { caption: EVIL.into(), png: vec![3, 2, 1] }),
            pictures: vec![Picture { caption: EVIL.into(), png: vec![0, 1, 2, 255] }],
        }
    }

    #[test]
    fn every_text_is_escaped() {
        let page = html(&report()).unwrap();
        assert!(!page.contains("<script") && !page.contains("alert('1')"), "{page}");
        assert_eq!(
            page.matches("&lt;script&gt;alert(&#x27;1&#x27;)&lt;&#x2f;script&gt;&quot;&amp;\u{fffd}").count(),
            15
        );
    }

    #[test]
    fn the_page_needs_nothing_from_outside() {
        let page = html(&report()).unwrap();
        assert!(page.contains("data:image/png;base64,AAEC/w==") && page.contains("base64,AwIB"));
        for outside in ["http://", "https://", "<link", "<iframe", "url(", "@import", "src=\"/"] {
            assert!(!page.contains(outside), "found {outside}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn it_warns_first_and_gives_the_figures() {
        let page = html(&report()).unwrap();
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}"));
        assert!(place(NOT_FOR_DIAGNOSTIC_USE) < place("<h1>"));
        assert!(place("<h2>Warnings") < place("<h2>Brain mask"));
        assert!(place("<h2>Brain mask") < place("<h2>Pictures"));
        for figure in ["0.5000", "2.0000", "0.2500", ">16<", "25.00", ">1.38<", "failed: "] {
            place(figure);
        }
        assert!(!page.contains("largest mean"), "every picture is shown");
        let fewer = Report { pictures: Vec::new(), brain: None, ..report() };
        assert!(!html(&fewer).unwrap().contains("Brain mask"));
        assert!(html(&fewer).unwrap().contains("The 0 slices with the largest mean of the map, of 1"));
    }
}
