//! Lets programs and tests find libtorch where it was linked from; LD_LIBRARY_PATH still goes first. Tells them its
//! version.

fn main() {
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    if let Ok(path) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{path}");
        // A file of every libtorch beside its `lib`.
        let file = std::path::Path::new(&path).with_file_name("build-version");
        println!("cargo:rerun-if-changed={}", file.display());
        let version = std::fs::read_to_string(file).unwrap_or_else(|_| "unknown".into());
        println!("cargo:rustc-env=LIBTORCH_VERSION={}", version.trim());
    }
}
