//! Unique identifiers that follow from what was done: the same run gives the same ones, any change others.
//!
//! A PACS answers Success to an object whose UID it has and keeps the old one, so a repeated UID must mean a repeated
//! result. Random UIDs would fill an archive with copies instead.

use sha2::{Digest, Sha256};

/// A UID 2.25.N from a hash of `parts`: N is a UUID of version 8 (custom) as a decimal number (PS3.5 B.2).
pub(super) fn uid(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut bytes: [u8; 16] = digest[..16].try_into().expect("SHA-256 has 32 bytes");
    bytes[6] = bytes[6] & 0x0F | 0x80;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    format!("2.25.{}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::uid;

    #[test]
    fn follows_from_its_parts() {
        let a = uid(&[b"ab", b"c"]);
        assert_eq!(a, uid(&[b"ab", b"c"]));
        assert_ne!(a, uid(&[b"a", b"bc"]));
        assert!(a.starts_with("2.25.") && a.len() <= 64, "{a}");
    }
}
