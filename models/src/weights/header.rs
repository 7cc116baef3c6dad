//! The header of a safetensors file: what its own reader lets pass.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// A name that stands twice in a header, which has already been read once without fault: JSON readers keep one of
/// the two, and which one is theirs to choose.
pub(super) fn duplicate(header: &[u8]) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(header);
    json.deserialize_map(FirstDuplicate).ok().flatten()
}

struct FirstDuplicate;

impl<'de> Visitor<'de> for FirstDuplicate {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<String>, A::Error> {
        let (mut seen, mut twice) = (BTreeSet::new(), None);
        while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
            if let Some(name) = seen.replace(name) {
                twice = Some(name);
            }
        }
        Ok(twice)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_that_stand_twice() {
        let cases: [(&str, Option<&str>); 4] = [
            (r#"{"a":{"a":1},"b":{"a":2}}"#, None),
            (r#"{"a":1,"b":2,"a":1}"#, Some("a")),
            (r#"{"a":1,"\u0061":2}"#, Some("a")),
            ("{}", None),
        ];
        for (header, expected) in cases {
            assert_eq!(super::duplicate(header.as_bytes()).as_deref(), expected, "{header}");
        }
    }
}
