//! Embeds the web page, compressed, and has the linker compress the line tables, which panics are told by: they are most of
//! the program's size.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

#[path = "src/fnv.rs"]
#[allow(unreachable_pub, clippy::trivially_copy_pass_by_ref, reason = "the crate has it as a public module")]
mod fnv;

/// Where the page's files are.
const PAGE: &str = "src/page";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    println!("cargo:rerun-if-changed={PAGE}");
    #[allow(clippy::disallowed_methods, reason = "cargo says so where the build may write")]
    let out = std::env::var_os("OUT_DIR").expect("cargo names a directory");
    embed(Path::new(&out));
}

/// Writes `page.rs` with all files of the page, as they are and compressed. Their addresses contain a hash of all of them, so
/// they name each other relatively, and a browser never mixes two versions.
fn embed(out: &Path) {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in fs::read_dir(PAGE).expect("the page's files") {
        let entry = entry.expect("a file of the page");
        let name = entry.file_name().into_string().expect("a name in ASCII");
        files.push((name, fs::read(entry.path()).expect("a file of the page")));
    }
    files.sort();
    let mut hash = fnv::Fnv::default();
    for (name, bytes) in &files {
        hash.write_str(name);
        hash.write_u64(bytes.len() as u64);
        hash.write(bytes);
    }
    let hash = format!("{:016x}", hash.finish());
    let mut code = format!("/// A hash of all files.\nconst HASH: &str = \"{hash}\";\n\n");
    let count = files.len();
    let _ = writeln!(code, "/// The files of the page, by name.\nstatic FILES: [File; {count}] = [");
    let mut modules = String::new();
    for (name, _) in files.iter().filter(|(name, _)| is_module(name)) {
        let _ = writeln!(modules, "<link rel=\"modulepreload\" href=\"page/{hash}/{name}\">");
    }
    for (name, mut bytes) in files {
        if name == "index.html" {
            let text = String::from_utf8(bytes).expect("the page is text");
            bytes = text.replace("{preload}\n", &modules).replace("{hash}", &hash).into_bytes();
        }
        let (plain, packed) = (out.join(&name), out.join(format!("{name}.gz")));
        fs::write(&packed, gzip(&bytes)).expect("write to cargo's directory");
        fs::write(&plain, bytes).expect("write to cargo's directory");
        let (plain, packed) = (plain.display(), packed.display());
        let _ = writeln!(
            code,
            "    File {{ name: {name:?}, plain: include_bytes!(\"{plain}\"), gzip: include_bytes!(\"{packed}\") }},"
        );
    }
    code.push_str("];\n");
    fs::write(out.join("page.rs"), code).expect("write to cargo's directory");
}

/// Whether a file is a script that the page's main script imports.
fn is_module(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "js") && name != "main.js"
}

/// Compresses as well as gzip can.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all bytes")
}
