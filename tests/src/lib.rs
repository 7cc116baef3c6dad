//! What the whole-chain tests share: where the golden vectors are, and how two arrays are compared.

pub mod engines;
pub mod family;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anomalens_exporter::checkpoint::Checkpoint;
use anomalens_models::graph::{ParamSpec, Tensor};
use ndarray::{ArrayBase, ArrayD, Data, Dimension};
use tempfile::TempDir;

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The committed golden vectors.
pub fn tiny() -> PathBuf {
    root().join("tests/golden/tiny")
}

/// The whole golden set, where `ANOMALENS_GOLDEN` points. It must not be skipped in CI.
pub fn golden() -> Option<PathBuf> {
    match std::env::var("ANOMALENS_GOLDEN") {
        Ok(path) => Some(path.into()),
        Err(_) => {
            assert!(std::env::var("CI").is_err(), "CI must set ANOMALENS_GOLDEN");
            eprintln!("skipped: ANOMALENS_GOLDEN is not set");
            None
        }
    }
}

/// What a script of `tests/oracle` writes of these cases, a folder for each; `None` without a Python for it. It must not be
/// skipped in CI.
pub fn oracle(script: &str, cases: &[serde_json::Value]) -> Option<TempDir> {
    let Ok(python) = std::env::var("ANOMALENS_PYTHON_TORCH") else {
        assert!(std::env::var_os("CI").is_none(), "CI must set ANOMALENS_PYTHON_TORCH");
        eprintln!("skipped: ANOMALENS_PYTHON_TORCH is not set");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("cases.json");
    std::fs::write(&list, serde_json::to_vec(cases).unwrap()).unwrap();
    let script = root().join("tests/oracle").join(script);
    let output = Command::new(python).arg("-B").arg(script).arg(&list).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(folder)
}

/// The inputs of a network that an oracle has written.
pub fn inputs(folder: &Path) -> Vec<(&'static str, Tensor)> {
    let mut inputs = vec![
        ("x", Tensor::F32(npy(&folder.join("x.npy")))),
        ("t", Tensor::I64(npy_i64(&folder.join("t.npy")))),
    ];
    if folder.join("y.npy").exists() {
        inputs.push(("y", Tensor::I64(npy_i64(&folder.join("y.npy")))));
    }
    inputs
}

/// All parameters of a checkpoint.
pub fn params(checkpoint: &Path, specs: &[ParamSpec]) -> HashMap<String, ArrayD<f32>> {
    let checkpoint = Checkpoint::open(checkpoint, None).unwrap();
    checkpoint.check("test", specs).unwrap();
    specs.iter().map(|s| (s.name.clone(), checkpoint.read(&s.name).unwrap())).collect()
}

/// An array of an `.npy` file, in f32.
pub fn npy(path: &Path) -> ArrayD<f32> {
    ndarray_npy::read_npy(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// An integer array of an `.npy` file.
pub fn npy_i64(path: &Path) -> ArrayD<i64> {
    ndarray_npy::read_npy(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The maximum absolute difference, and where.
pub fn max_abs<S, T, D>(found: &ArrayBase<S, D>, expected: &ArrayBase<T, D>) -> f64
where
    S: Data,
    T: Data,
    S::Elem: Into<f64> + Copy,
    T::Elem: Into<f64> + Copy,
    D: Dimension,
{
    assert_eq!(found.shape(), expected.shape());
    found.iter().zip(expected.iter()).map(|(&a, &b)| (a.into() - b.into()).abs()).fold(0.0, |m, d| {
        // A NaN must not be lost in a maximum.
        if d.is_nan() || d > m { d } else { m }
    })
}
