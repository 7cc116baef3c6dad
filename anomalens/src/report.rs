//! `report.html`: one page without outside parts, for a person. Pictures are inside as `data:` URIs; the content
//! security policy lets a browser load nothing else, so that the page cannot call anywhere.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::picture::NOT_FOR_DIAGNOSTIC_USE;

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
}

/// How pages look.
pub const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c20; background: #fff; max-width: 72rem; margin: 0 auto; padding: 1.5rem; }
.banner { background: #b26a00; color: #fff; font-weight: 700; padding: .6rem 1rem; border-radius: 4px; }
h1 { font-size: 1.5rem; margin: 1rem 0 .5rem; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
figure { margin: 0 0 1.2rem; } img { max-width: 100%; height: auto; display: block; border-radius: 4px; }
figcaption { color: #55555c; font-size: .9rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #e4e4e8; vertical-align: top; overflow-wrap: anywhere; }
.facts th { font-weight: 500; color: #55555c; white-space: nowrap; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.warnings { border-left: 4px solid #b26a00; background: #fff6e6; padding: .4rem 1rem; } .failed td { color: #a01010; }
@media print { body { max-width: none; padding: 0; font-size: 11px; } figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  .banner { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
";

/// The page.
pub fn html(report: &Report) -> String {
    let mut page = String::new();
    let title = escape(&report.title);
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <p class=\"banner\">{NOT_FOR_DIAGNOSTIC_USE} &ndash; research software, not a medical device</p>\n\
         <h1>{title}</h1>\n<p>{}</p>\n",
        escape(&report.subtitle)
    );
    list(&mut page, "Warnings", "warnings", &report.warnings);
    pictures(&mut page, report);
    slices(&mut page, &report.slices);
    for (heading, rows) in &report.tables {
        let _ = writeln!(page, "<h2>{}</h2>\n<table class=\"facts\">", escape(heading));
        for (name, value) in rows {
            let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
        }
        page.push_str("</table>\n");
    }
    list(&mut page, "What was decided while reading", "decisions", &report.decisions);
    page.push_str("</body>\n</html>\n");
    page
}

fn list(page: &mut String, heading: &str, class: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(page, "<h2>{heading}</h2>\n<ul class=\"{class}\">");
    for item in items {
        let _ = writeln!(page, "<li>{}</li>", escape(item));
    }
    page.push_str("</ul>\n");
}

fn pictures(page: &mut String, report: &Report) {
    let done = report.slices.iter().filter(|row| row.found.is_ok()).count();
    let _ = writeln!(page, "<h2>Pictures</h2>");
    if report.pictures.len() < done {
        let _ = writeln!(
            page,
            "<p>The {} slices with the largest mean of the map, of {done}; the others are in the folder of this report.</p>",
            report.pictures.len()
        );
    }
    for picture in &report.pictures {
        let caption = escape(&picture.caption);
        let _ = writeln!(
            page,
            "<figure><img alt=\"{caption}\" src=\"data:image/png;base64,{}\"><figcaption>{caption}</figcaption></figure>",
            STANDARD.encode(&picture.png)
        );
    }
}

fn slices(page: &mut String, rows: &[SliceRow]) {
    page.push_str(
        "<h2>Slices</h2>\n<table>\n<tr><th class=\"n\">slice</th><th>source</th><th class=\"n\">map, mean</th>\
         <th class=\"n\">map, maximum</th><th class=\"n\">threshold (Otsu)</th><th class=\"n\">mask, pixels</th>\
         <th class=\"n\">mask, %</th></tr>\n",
    );
    for row in rows {
        let name = escape(&row.name);
        let _ = match &row.found {
            Ok(f) => writeln!(
                page,
                "<tr><td class=\"n\">{}</td><td>{name}</td><td class=\"n\">{:.4}</td><td class=\"n\">{:.4}</td>\
                 <td class=\"n\">{:.4}</td><td class=\"n\">{}</td><td class=\"n\">{:.2}</td></tr>",
                row.slice,
                f.mean,
                f.maximum,
                f.threshold,
                f.area,
                100.0 * f.area as f64 / f.pixels.max(1) as f64
            ),
            Err(why) => writeln!(
                page,
                "<tr class=\"failed\"><td class=\"n\">{}</td><td>{name}</td><td colspan=\"5\">failed: {}</td></tr>",
                row.slice,
                escape(why)
            ),
        };
    }
    page.push_str("</table>\n");
}

/// Text as HTML shows it, in an element or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter if letter.is_control() && letter != '\n' => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "<script>alert('1')</script>\"&\u{7}";

    fn report() -> Report {
        let figures = Figures { mean: 0.5, maximum: 2.0, threshold: 0.25, area: 16, pixels: 64 };
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
            pictures: vec![Picture { caption: EVIL.into(), png: vec![0, 1, 2, 255] }],
        }
    }

    #[test]
    fn every_text_is_escaped() {
        let page = html(&report());
        assert!(!page.contains("<script") && !page.contains("alert('1')"), "{page}");
        assert_eq!(
            page.matches("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;\u{fffd}").count(),
            13
        );
    }

    #[test]
    fn the_page_needs_nothing_from_outside() {
        let page = html(&report());
        assert!(page.contains("data:image/png;base64,AAEC/w=="));
        for outside in ["http://", "https://", "<link", "<iframe", "url(", "@import", "src=\"/"] {
            assert!(!page.contains(outside), "found {outside}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn it_warns_first_and_gives_the_figures() {
        let page = html(&report());
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}"));
        assert!(place(NOT_FOR_DIAGNOSTIC_USE) < place("<h1>"));
        assert!(place("<h2>Warnings") < place("<h2>Pictures"));
        for figure in ["0.5000", "2.0000", "0.2500", ">16<", "25.00", "failed: "] {
            place(figure);
        }
        assert!(!page.contains("largest mean"), "every picture is shown");
        let fewer = Report { pictures: Vec::new(), ..report() };
        assert!(html(&fewer).contains("The 0 slices with the largest mean of the map, of 1"));
    }
}
