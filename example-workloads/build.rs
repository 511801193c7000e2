//! Builds every guest to a component with a cargo of its own and writes the catalog that `lib.rs` includes.
//!
//! The nested cargo has its own target directory, shared by dev and release builds: the outer one is locked while this runs.
//! A guest that lies in the folder but not in `catalog.rs` fails the build, and so does the reverse.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "catalog.rs"]
mod catalog;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "guest";

/// What a component begins with; a module has another layer in its place.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() {
    // Returned from main, an error would be printed with its quotes and newlines escaped.
    if let Err(error) = run() {
        println!("cargo::error={}", error.to_string().replace('\n', " "));
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let root = here.parent().ok_or("the package has no workspace around it")?;

    for path in ["guest-sdk", "wit", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    // The whole folder, so that a new guest is noticed.
    println!("cargo::rerun-if-changed={}", here.display());

    check_catalog(&here)?;
    ensure_target()?;
    let mut components = build_guests(root, &target_root(&out)?.join("guests"))?;
    components.extend(encode_texts(root, &here, &out)?);
    write_catalog(&components, &out)
}

/// Every guest in the folder is in the catalog, and nothing else is.
fn check_catalog(here: &Path) -> Result<()> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(here)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "faults" && entry.path().join("Cargo.toml").is_file() {
            found.insert(name);
        }
    }
    let listed = catalog::EXAMPLES.iter().map(|(name, version, _)| format!("{name}-{version}")).collect();
    compare("example-workloads/", &found, &listed)?;

    for (folder, ending, guests) in [("faults/examples", "rs", catalog::FAULTS), ("faults/wat", "wat", catalog::TEXTS)]
    {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(here.join(folder))? {
            let path = entry?.path();
            if let Some(stem) = path.file_stem().filter(|_| path.extension().is_some_and(|found| found == ending)) {
                found.insert(stem.to_string_lossy().into_owned());
            }
        }
        let listed = guests.iter().map(|(name, _)| (*name).to_owned()).collect();
        compare(&format!("example-workloads/{folder}/"), &found, &listed)?;
    }
    Ok(())
}

fn compare(folder: &str, found: &BTreeSet<String>, listed: &BTreeSet<String>) -> Result<()> {
    if let Some(name) = found.difference(listed).next() {
        return Err(format!("{folder}{name} is not in example-workloads/catalog.rs: say there what it is").into());
    }
    if let Some(name) = listed.difference(found).next() {
        return Err(format!("example-workloads/catalog.rs names {name}, which is not in {folder}").into());
    }
    Ok(())
}

/// Installs the target where it is missing: rustup's own automatic installation may be switched off.
fn ensure_target() -> Result<()> {
    if has_target()? {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", TARGET]).stdout(Stdio::null()).status();
    if matches!(added, Ok(status) if status.success()) && has_target()? {
        return Ok(());
    }
    Err(format!(
        "the guests need the Rust target {TARGET}, which is not installed and could not be added; run: rustup target add {TARGET}"
    )
    .into())
}

fn has_target() -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output()?;
    let libdir = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    Ok(output.status.success() && fs::read_dir(libdir).is_ok_and(|mut entries| entries.next().is_some()))
}

/// The outer target directory, found from `<root>[/<triple>]/<profile>/build/<package>/out`.
fn target_root(out: &Path) -> Result<PathBuf> {
    // Cargo marks it. Where the mark is missing, the layout says where it is for builds without `--target`.
    out.ancestors()
        .find(|path| path.join("CACHEDIR.TAG").is_file())
        .or_else(|| out.ancestors().nth(4))
        .map(Path::to_owned)
        .ok_or_else(|| format!("no target directory above {}", out.display()).into())
}

/// Builds all guests and gives their names and files.
fn build_guests(root: &Path, target_dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut examples = cargo_build(root, target_dir);
    examples.arg("--lib");
    for (name, version, _) in catalog::EXAMPLES {
        examples.args(["--package", &format!("{name}-{}", version.replace('.', "-"))]);
    }
    run_cargo(examples)?;

    let mut faults = cargo_build(root, target_dir);
    faults.args(["--package", "faults", "--examples"]);
    // Nobody measures a fault. Without link-time optimisation they build in less than half the time, for a tenth more bytes.
    faults.args(["--config", "profile.guest.lto=\"off\""]);
    run_cargo(faults)?;

    let built = target_dir.join(TARGET).join(PROFILE);
    let mut components = Vec::new();
    for (name, version, _) in catalog::EXAMPLES {
        let id = format!("{name}-{version}");
        let file = built.join(format!("{}.wasm", id.replace(['-', '.'], "_")));
        components.push((id, file));
    }
    for (name, _) in catalog::FAULTS {
        components.push(((*name).to_owned(), built.join("examples").join(format!("{}.wasm", name.replace('-', "_")))));
    }
    Ok(components)
}

/// Makes components of the guests in the text format: of a module, by the interface it says it keeps; of a component, as it
/// is.
fn encode_texts(root: &Path, here: &Path, out: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(root.join("wit"))?;
    let world = resolve.select_world(&[package], Some("workload"))?;
    let mut components = Vec::new();
    for (name, _) in catalog::TEXTS {
        let mut wasm = wat::parse_file(here.join(format!("faults/wat/{name}.wat")))?;
        if !wasm.starts_with(COMPONENT) {
            wit_component::embed_component_metadata(&mut wasm, &resolve, world, wit_component::StringEncoding::UTF8)?;
            wasm = wit_component::ComponentEncoder::default().module(&wasm)?.encode()?;
        }
        let file = out.join(format!("text-{name}.wasm"));
        fs::write(&file, wasm)?;
        components.push(((*name).to_owned(), file));
    }
    Ok(components)
}

fn cargo_build(root: &Path, target_dir: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["build", "--locked", "--profile", PROFILE, "--target", TARGET]);
    cargo.arg("--target-dir").arg(target_dir);
    // What the nested cargo says on stdout would be taken for this script's instructions.
    cargo.stdout(Stdio::null());
    clean_environment(&mut cargo);
    cargo
}

fn run_cargo(mut cargo: Command) -> Result<()> {
    if cargo.status()?.success() {
        return Ok(());
    }
    let arguments: Vec<_> = cargo.get_args().map(|argument| argument.to_string_lossy()).collect();
    Err(format!("the guests don't build; what was run: cargo {}", arguments.join(" ")).into())
}

/// Takes away what describes the outer build: its flags and wrappers (clippy's, a coverage tool's) are not meant for guests.
fn clean_environment(cargo: &mut Command) {
    const KEPT: [&str; 8] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
        "CARGO_UNSTABLE_",
    ];
    const REMOVED: [&str; 9] =
        ["RUSTFLAGS", "RUSTDOCFLAGS", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "OUT_DIR"];
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let of_cargo = name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept));
        if of_cargo || name.starts_with("__CARGO_") || name.starts_with("DEP_") || REMOVED.contains(&name) {
            cargo.env_remove(name);
        }
    }
    // Set to nothing instead of removed, so that a user's cargo config doesn't fill them either.
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env(name, "");
    }
}

/// Copies the components beside the catalog: the nested target directory may change under a crate that is being compiled.
fn write_catalog(components: &[(String, PathBuf)], out: &Path) -> Result<()> {
    for (id, file) in components {
        let bytes = fs::read(file).map_err(|error| format!("{} was not built: {error}", file.display()))?;
        fs::write(out.join(format!("{id}.wasm")), bytes)?;
    }

    let mut text = String::new();
    let mut all = Vec::new();
    for (name, version, about) in catalog::EXAMPLES {
        all.push(entry(&mut text, name, version, &format!("{name}-{version}"), "Example", about)?);
    }
    writeln!(
        text,
        "/// The guests that misbehave on purpose, each by its name.\npub mod faults {{\nuse super::{{Example, Kind}};"
    )?;
    for (name, about) in catalog::FAULTS.iter().chain(catalog::TEXTS) {
        let function = entry(&mut text, name, catalog::FAULT_VERSION, name, "Fault", about)?;
        all.push(format!("faults::{function}"));
    }
    writeln!(text, "}}")?;
    writeln!(text, "static ALL: &[&Example] = &[{}()];", all.join("(), "))?;
    fs::write(out.join("catalog.rs"), text)?;
    Ok(())
}

/// Writes a guest's constant and function and gives the function's name.
fn entry(text: &mut String, name: &str, version: &str, id: &str, kind: &str, about: &str) -> Result<String> {
    let function = id.replace(['-', '.'], "_");
    writeln!(
        text,
        "/// {about}\n\
         pub const fn {function}() -> &'static Example {{\n\
             static GUEST: Example = Example {{ name: {name:?}, version: {version:?}, file_name: \"{id}.wasm\", \
             kind: Kind::{kind}, about: {about:?}, \
             component: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{id}.wasm\")) }};\n\
             &GUEST\n\
         }}"
    )?;
    Ok(function)
}
