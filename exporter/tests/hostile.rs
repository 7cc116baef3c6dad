//! Files made to do harm, and damaged ones: typed errors, no panic, bounded memory, nothing executed.

mod support;

use std::path::Path;

use anomalens_exporter::checkpoint::{Checkpoint, CheckpointError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{
    ORDERED_DICT, Tensor, Value, dict, listing, pickle_tensor, text, write_pickle, write_pt, write_zip,
};

/// Opens a file and reads everything in it.
fn read_all(path: &Path) -> Result<usize, CheckpointError> {
    let checkpoint = Checkpoint::open(path, None)?;
    let tensors = checkpoint.tensors()?;
    tensors.iter().try_fold(0, |sum, tensor| Ok(sum + checkpoint.bytes(&tensor.name)?.len()))
}

fn storage() -> Vec<Vec<u8>> {
    vec![[1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect()]
}

/// A pickle of one dictionary: what stands between its MARK and its SETITEMS.
fn of_items(items: &[u8]) -> Vec<u8> {
    [b"\x80\x02", ORDERED_DICT, b"(", items, b"u."].concat()
}

/// An item named `a` of which numbers are replaced: a view into a storage of two f32.
fn view(offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let long = |n: &i64| [&[0x8a, 8][..], &n.to_le_bytes()].concat();
    let tuple =
        |numbers: &[i64]| [&b"("[..], &numbers.iter().flat_map(long).collect::<Vec<u8>>(), b"t"].concat();
    let mut out = Vec::new();
    text(&mut out, "a");
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(&mut out, "storage");
    out.extend(b"ctorch\nFloatStorage\n");
    text(&mut out, "0");
    text(&mut out, "cpu");
    out.extend(b"K\x02tQ");
    out.extend(long(&offset));
    out.extend(tuple(shape));
    out.extend(tuple(strides));
    out.extend(b"\x89)tR");
    out
}

/// A dictionary that holds another twice, and that another twice, …
fn doubled(depth: usize) -> Vec<u8> {
    let mut out = b"\x80\x02}q\0".to_vec();
    for _ in 0..depth {
        out.extend(b"}(");
        text(&mut out, "a");
        out.extend(b"h\0");
        text(&mut out, "b");
        out.extend(b"h\0uq\0");
    }
    out.push(b'.');
    out
}

/// Pickles, each with the words of its refusal.
fn pickles() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let long_key = {
        let mut out = Vec::new();
        text(&mut out, &"k".repeat(2000));
        out.push(b'N');
        of_items(&out)
    };
    vec![
        ("cut short", b"\x80\x02}(X\x01\0\0\0a".to_vec(), "ends too early"),
        ("text of 4 GiB", b"\x80\x02X\xff\xff\xff\xffabc.".to_vec(), "ends too early"),
        ("text of 2^64", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.".to_vec(), "ends too early"),
        ("number of 4 GiB", b"\x80\x02\x8b\xff\xff\xff\xff.".to_vec(), "ends too early"),
        ("text that is none", b"\x80\x02X\x02\0\0\0\xff\xfe.".to_vec(), "utf-8"),
        ("unknown instruction", b"\x80\x02i.".to_vec(), "instruction 0x69"),
        ("nothing to take", b"\x80\x02R.".to_vec(), "an empty stack"),
        ("nothing remembered", b"\x80\x02h\x07.".to_vec(), "nothing is remembered as 7"),
        ("end without beginning", b"\x80\x02t.".to_vec(), "an end without a beginning"),
        ("key without value", b"\x80\x02}(Nu.".to_vec(), "a key without a value"),
        ("a million beginnings", [b"\x80\x02", &[b'('; 1_000_000][..], b"."].concat(), "beginnings"),
        ("a million deep", [b"\x80\x02)", &[0x85; 1_000_000][..], b"."].concat(), "no tensors by name"),
        ("too many values", [b"\x80\x02", &[b'}'; 2_000_000][..], b"."].concat(), "values"),
        ("too much remembered", [b"\x80\x02}", &[0x94; 2_000_000][..], b"."].concat(), "values remembered"),
        ("a million empty lists", [b"\x80\x02", &[b']'; 1_000_000][..], b"."].concat(), "no tensors by name"),
        ("too long a pickle", vec![b'N'; 17 << 20], "expected at most"),
        (
            "tuples doubled 64 times",
            [b"\x80\x02)q\0", &b"h\0\x86q\0h\0".repeat(64)[..], b"."].concat(),
            "no tensors",
        ),
        ("dictionaries doubled 25 times", doubled(25), "entries"),
        ("dictionaries doubled 64 times", doubled(64), "deep"),
        ("a dictionary in itself", b"\x80\x02}q\0(X\x01\0\0\0ah\0u.".to_vec(), "deep"),
        ("a long name", long_key, "a name of 2000 bytes"),
        (
            "the same name twice",
            of_items(&[view(0, &[1], &[1]), view(0, &[1], &[1])].concat()),
            "two tensors named 'a'",
        ),
        (
            "a module itself",
            b"\x80\x02cguided_diffusion.unet\nUNetModel\n)\x81}b.".to_vec(),
            "a guided_diffusion.unet.UNetModel itself, not its state_dict()",
        ),
        ("negative stride", of_items(&view(1, &[2], &[-1])), "'a' is a view with the number -1"),
        ("negative offset", of_items(&view(-1, &[2], &[1])), "'a' is a view with the number -1"),
        ("huge stride", of_items(&view(0, &[2], &[i64::MAX])), "in a storage of 2"),
        ("huge offset", of_items(&view(i64::MAX, &[2], &[1])), "in a storage of 2"),
        ("huge sum", of_items(&view(0, &[2, 2], &[i64::MAX, i64::MAX])), "in a storage of 2"),
        ("huge shape", of_items(&view(0, &[1 << 40, 1 << 40], &[0, 0])), "impossible shape"),
        ("a shape of none, huge", of_items(&view(0, &[0, 1 << 40, 1 << 40], &[0, 0, 0])), "impossible shape"),
        ("repeated 2^40 times", of_items(&view(0, &[1 << 20, 1 << 20], &[0, 0])), "repeats a storage of 2"),
        (
            "a sparse tensor",
            {
                let mut out = Vec::new();
                text(&mut out, "a");
                out.extend(b"ctorch._utils\n_rebuild_sparse_tensor\n)R");
                of_items(&out)
            },
            "'a' is written by torch._utils._rebuild_sparse_tensor",
        ),
        (
            "complex numbers",
            {
                let mut out = Vec::new();
                text(&mut out, "a");
                pickle_tensor(
                    &mut out,
                    &Tensor { class: "ComplexFloatStorage", ..Tensor::new(0, &[2]) },
                    &storage(),
                );
                of_items(&out)
            },
            "'a' is of type complexfloat",
        ),
        (
            "numbers that stand there with the other sign",
            {
                let mut out = view(0, &[2], &[1]);
                out.truncate(out.len() - b"tR".len());
                out.push(b'}');
                text(&mut out, "neg");
                out.extend(b"\x88stR");
                of_items(&out)
            },
            "'a' is a view with PyTorch's conjugate or negative bit",
        ),
    ]
}

#[test]
fn pickles_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pt");
    let mut wrong = Vec::new();
    for (case, pickle, expected) in pickles() {
        write_pickle(&path, &pickle, &storage());
        let found = read_all(&path).err().map(|e| e.to_string()).unwrap_or_default();
        if !found.contains(expected) || !found.contains("again") && !found.contains("write the file") {
            wrong.push(format!("{case}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_is_executed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, made) = (folder.path().join("a.pt"), folder.path().join("made"));
    let command = format!("touch {}", made.display());
    let mut items = view(0, &[2], &[1]);
    for call in
        [&b"cos\nsystem\n"[..], b"cposix\nsystem\n", b"cbuiltins\neval\n", b"csubprocess\ngetoutput\n"]
    {
        text(&mut items, &String::from_utf8_lossy(call));
        items.extend(call);
        items.push(b'(');
        text(&mut items, &command);
        items.extend(b"tR");
    }
    write_pickle(&path, &of_items(&items), &storage());
    // The calls are no tensors; the tensor beside them is read.
    let checkpoint = Checkpoint::open(&path, None).unwrap();
    assert_eq!(checkpoint.read_f32("a").unwrap(), [1.0, 2.0]);
    assert_eq!(checkpoint.len(), 1);
    assert!(!made.exists());
    // As what a tensor is made of, they are nothing either.
    let mut items = Vec::new();
    text(&mut items, "a");
    items.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(cos\nsystem\n(");
    text(&mut items, &command);
    items.extend(b"tRK\0))tR");
    write_pickle(&path, &of_items(&items), &storage());
    assert!(matches!(read_all(&path), Err(CheckpointError::Unreadable { .. })));
    assert_eq!(listing(folder.path()), ["a.pt"]);
}

#[test]
fn zips_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pt");
    let (pickle, data) = (of_items(&view(0, &[2], &[1])), storage().remove(0));
    let good = ("archive/data.pkl", pickle.as_slice());
    let refusal = || read_all(&path).err().map(|e| e.to_string()).unwrap_or_default();
    let elsewhere = {
        let text =
            String::from_utf8_lossy(&pickle).replace("X\x01\0\0\x000", "X\x12\0\0\x00../../../etc/passwd");
        text.into_bytes()
    };
    type Case<'a> = (&'a str, &'a [(&'a str, &'a [u8])], &'a str);
    let cases: [Case<'_>; 9] = [
        ("right", &[good, ("archive/data/0", &data)], ""),
        ("no storage", &[good], "no entry 'archive/data/0'"),
        ("a short storage", &[good, ("archive/data/0", &data[..4])], "has 4 bytes, expected 2 × f32"),
        (
            "a long storage",
            &[good, ("archive/data/0", &[data.clone(), data.clone()].concat())],
            "has 16 bytes",
        ),
        ("two pickles", &[good, ("other/data.pkl", &pickle)], "more than one data.pkl"),
        (
            "TorchScript",
            &[good, ("archive/constants.pkl", b""), ("archive/code/m.py", b"")],
            "torch.jit.load(",
        ),
        ("big-endian", &[good, ("archive/byteorder", b"big")], "big-endian"),
        ("names that leave", &[("../../data.pkl", &pickle), ("../../data/0", &data)], ""),
        ("a storage elsewhere", &[("archive/data.pkl", &elsewhere)], "again"),
    ];
    for (case, entries, expected) in cases {
        write_zip(&path, entries);
        let found = refusal();
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{case}: {found}");
    }
    assert_eq!(listing(folder.path()), ["a.pt"]);

    // Fields of the table of contents, changed in place: at an offset from its last entry, or from its end.
    write_zip(&path, &[good, ("archive/data/0", &data)]);
    let whole = std::fs::read(&path).unwrap();
    let entry = whole.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    let end = whole.len() - 22;
    let cases: [(&str, usize, &[u8], &str); 8] = [
        ("compressed", entry + 10, &[8, 0], "is compressed"),
        ("encrypted", entry + 8, &[1, 0], "is compressed or encrypted"),
        ("a bomb, declared", entry + 24, &[0xff, 0xff, 0xff, 0xfe], "is compressed"),
        (
            "beyond the file",
            entry + 20,
            &[0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xfe],
            "ends beyond the file",
        ),
        ("a header elsewhere", entry + 42, &[0xff, 0xff, 0xff, 0x7f], "ends beyond the file"),
        ("the same name twice", entry + 46, b"archive/data/p", "no entry"),
        ("more entries than there are", end + 8, &[9, 0, 9, 0], "table of contents is damaged"),
        ("a table beyond the file", end + 16, &[0xff, 0xff, 0xff, 0x7f], "its end is not that of a zip file"),
    ];
    for (case, at, change, expected) in cases {
        let mut bytes = whole.clone();
        bytes[at..at + change.len()].copy_from_slice(change);
        std::fs::write(&path, bytes).unwrap();
        let found = refusal();
        assert!(found.contains(expected), "{case}: {found}");
    }
    // 2^60 entries, as 64 bits say it.
    let mut bytes = whole[..end].to_vec();
    let start = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0");
    for number in [1u64 << 60, 1 << 60, end as u64 - entry as u64, entry as u64] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(start.to_le_bytes());
    bytes.extend(b"\x01\0\0\0PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    std::fs::write(&path, bytes).unwrap();
    let found = refusal();
    assert!(found.contains("1152921504606846976 entries, expected at most"), "{found}");
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn safetensors_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let tensor = |name: &str, shape: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let two = |a: String, b: String| safetensors(&format!("{{{a},{b}}}"), &[0; 8]);
    let one = |a: String| safetensors(&format!("{{{a}}}"), &[0; 8]);
    let right = two(tensor("a", "[1]", 0, 4), tensor("b", "[1]", 4, 8));
    let deep = format!("{{{}", "\"a\":{".repeat(100_000));
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("right", right.clone(), ""),
        ("cut short", right[..right.len() - 1].to_vec(), "incomplete"),
        ("cut in the header", right[..40].to_vec(), "again"),
        ("a header of 2^63", [&(1u64 << 63).to_le_bytes()[..], b"{}"].concat(), "again"),
        ("a header of 90 MB", [&90_000_000u64.to_le_bytes()[..], b"{}"].concat(), "again"),
        ("overlap", two(tensor("a", "[1]", 0, 4), tensor("b", "[1]", 2, 6)), "invalid offset for tensor"),
        ("gap", two(tensor("a", "[1]", 0, 4), tensor("b", "[0]", 8, 8)), "invalid offset for tensor"),
        ("backwards", one(tensor("a", "[1]", 8, 4)), "invalid offset for tensor"),
        ("beyond", one(tensor("a", "[4]", 0, 16)), "again"),
        ("another length", one(tensor("a", "[3]", 0, 8)), "again"),
        (
            "twice",
            one(format!("{},{}", tensor("a", "[2]", 0, 8), tensor("a", "[2]", 0, 8))),
            "'a' stands twice",
        ),
        ("a product too large", one(tensor("a", "[4294967296,4294967296,4]", 0, 8)), "overflow"),
        (
            "none, and huge",
            two(tensor("a", "[2]", 0, 8), tensor("b", "[0,1152921504606846976,1152921504606846976]", 8, 8)),
            "impossible shape",
        ),
        ("deep", safetensors(&deep, &[]), "again"),
    ];
    for (case, bytes, expected) in cases {
        std::fs::write(&path, bytes).unwrap();
        let found = read_all(&path).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{case}: {found}");
    }
}

/// Bytes changed, cut off or doubled at random, in all formats: an answer or a typed error, never a panic.
#[test]
fn no_damage_is_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let (a, b) = (Tensor::new(0, &[2, 3]), Tensor { strides: vec![1, 2], ..Tensor::new(0, &[2, 3]) });
    let model = dict([("a", Value::Tensor(a)), ("b", Value::Tensor(b)), ("c", Value::Int(7))]);
    write_pt(&path, &dict([("model", model)]), &[(0..6).map(|v| v as f32).collect()]);
    let pt = std::fs::read(&path).unwrap();
    assert_eq!(read_all(&path).unwrap(), 48);
    let header = r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]}}"#;
    let safetensors = safetensors(header, &[1; 12]);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut read = 0;
    for round in 0..4_000 {
        let mut bytes = if round % 2 == 0 { pt.clone() } else { safetensors.clone() };
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..6) {
                0 => bytes[at] = rng.random(),
                1 => bytes[at] ^= 1 << rng.random_range(0..8),
                2 => bytes[at] = *[0, 1, 0x7f, 0x80, 0xff].get(rng.random_range(0..5)).unwrap(),
                3 if round % 10 == 0 => bytes.truncate(at.max(1)),
                4 if round % 10 == 1 => {
                    let part = bytes[at..(at + 8).min(bytes.len())].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => {
                    let n = rng.random_range(0..8u64);
                    let end = (at + n as usize).min(bytes.len());
                    bytes[at..end].fill(0xff);
                }
            }
        }
        // The checksum of the pickle would catch most of it: half of the files are made to look whole.
        if round % 4 == 0 {
            mend(&mut bytes);
        }
        // Written over, some file systems flush it to the disk.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        read += usize::from(read_all(&path).is_ok());
    }
    // Not all damage shows, and not all is fatal: the loop has seen both.
    assert!((1..3_900).contains(&read), "{read} of 4000 were read");
}

/// Writes the checksums of a zip file anew, as far as it still is one.
fn mend(bytes: &mut [u8]) {
    let positions: Vec<usize> =
        (0..bytes.len().saturating_sub(46)).filter(|&at| bytes[at..].starts_with(b"PK\x01\x02")).collect();
    for at in positions {
        let field = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
        let (size, header) = (field(at + 24), field(at + 42));
        let Some(head) = bytes.get(header..).filter(|head| head.len() > 30) else { continue };
        let skip = 30 + usize::from(head[26]) + usize::from(head[28]) + 256 * usize::from(head[29]);
        let Some(data) = head.get(skip..skip.saturating_add(size)) else { continue };
        let crc = crc32fast::hash(data).to_le_bytes();
        bytes[at + 16..at + 20].copy_from_slice(&crc);
    }
}

/// Every hostile pickle once more, by the program itself in an address space of 512 MiB.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("a.pt"), folder.path().join("out.safetensors"));
    let convert = |input: &Path| {
        let program = assert_cmd::cargo::cargo_bin("anomalens-export");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -v 524288; exec \"$0\" convert \"$1\" \"$2\""]);
        let output = shell.arg(program).args([input, &out]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    for (case, pickle, expected) in pickles() {
        write_pickle(&path, &pickle, &storage());
        let (code, text) = convert(&path);
        // Of what would be too large a file, no tensor is looked at.
        let refused = text.contains(expected) || text.contains("views repeat what is in it");
        assert!(code == Some(1) && refused, "{case}: {code:?} {text}");
    }
    // Under the same limit what is right is converted, and what is too large shows that there is a limit.
    write_pickle(&path, &of_items(&view(0, &[2], &[1])), &storage());
    assert_eq!(convert(&path), (Some(0), String::new()));
    std::fs::remove_file(&out).unwrap();
    let large = folder.path().join("large.safetensors");
    let header =
        format!(r#"{{"a":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}}}"#, 1 << 28, 1u64 << 30);
    std::fs::write(&large, safetensors(&header, &[])).unwrap();
    let length = std::fs::metadata(&large).unwrap().len() + (1 << 30);
    std::fs::File::options().write(true).open(&large).unwrap().set_len(length).unwrap();
    let (code, text) = convert(&large);
    assert!(code == Some(1) && text.contains("memory"), "{code:?} {text}");
    assert_eq!(listing(folder.path()), ["a.pt", "large.safetensors"]);
}
