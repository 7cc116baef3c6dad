//! Pages for a person, without outside parts: pictures are inside as `data:` URIs, there is no script, and the content security
//! policy lets a browser load nothing else, so that a page cannot call anywhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Value;
use minijinja::{Environment, context, escape_formatter};

use crate::picture::NOT_FOR_DIAGNOSTIC_USE;

/// What all pages have; the names end in .html, by which every text in them is escaped.
const PARTS: [(&str, &str); 3] = [
    ("base.html", include_str!("page/base.html")),
    ("facts.html", include_str!("page/facts.html")),
    ("protocol.html", include_str!("page/protocol.html")),
];

/// Renders a template that extends `base.html`, with its values.
///
/// Errors: those of the template.
pub fn render(template: &'static str, values: Value) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    for (name, text) in PARTS.into_iter().chain([("page.html", template)]) {
        environment.add_template(name, text)?;
    }
    environment.set_formatter(|out, state, value| match value.as_str() {
        // No browser shows these.
        Some(text) if !value.is_safe() => {
            let shown = text.replace(|letter: char| letter.is_control() && letter != '\n', "\u{fffd}");
            escape_formatter(out, state, &shown.into())
        }
        _ => escape_formatter(out, state, value),
    });
    environment.get_template("page.html")?.render(context! { notice => NOT_FOR_DIAGNOSTIC_USE, ..values })
}

/// A PNG file as the source of an image.
pub fn source(png: &[u8]) -> Value {
    Value::from_safe_string(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

/// An SVG file as the source of an image.
pub fn drawing(svg: &str) -> Value {
    Value::from_safe_string(format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg)))
}

/// A table of names and values, for `facts.html`.
pub fn facts(title: &str, rows: &[(String, String)]) -> Value {
    context! { title, rows }
}
