//! Lets programs and tests find libtorch where it was linked from; LD_LIBRARY_PATH still goes first.

fn main() {
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    if let Ok(path) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{path}");
    }
}
