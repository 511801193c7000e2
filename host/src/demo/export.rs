//! Writes the components that the demo carries, for a person to deploy by hand.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use example_workloads::{Example, Kind};

/// Where the guests that fail go.
const FAULTS: &str = "faults";

/// A file that was written.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Exported {
    /// Where, seen from the folder.
    pub(crate) file: PathBuf,
    /// What it shows.
    pub(crate) about: &'static str,
    /// It fails on purpose.
    pub(crate) fault: bool,
    /// Its size.
    pub(crate) bytes: u64,
}

/// Writes all of them into a folder, which is made if it is not there. Files of the same name are replaced.
pub(crate) fn write(folder: &Path) -> anyhow::Result<Vec<Exported>> {
    let made = |path: &Path| fs::create_dir_all(path).with_context(|| format!("making the folder {}", path.display()));
    made(folder)?;
    made(&folder.join(FAULTS))?;
    example_workloads::all().iter().map(|guest| write_one(folder, guest)).collect()
}

fn write_one(folder: &Path, guest: &Example) -> anyhow::Result<Exported> {
    let fault = guest.kind == Kind::Fault;
    let file = if fault { Path::new(FAULTS).join(guest.file_name) } else { PathBuf::from(guest.file_name) };
    let path = folder.join(&file);
    fs::write(&path, guest.component).with_context(|| format!("writing {}", path.display()))?;
    Ok(Exported { file, about: guest.about, fault, bytes: guest.component.len() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_components_are_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let into = folder.path().join("new");
        let exported = write(&into).expect("written");
        assert!(into.join("counter-1.0.0.wasm").is_file() && into.join("counter-1.1.0.wasm").is_file());
        assert_eq!(exported.len(), example_workloads::all().len());
        for one in &exported {
            assert_eq!(fs::metadata(into.join(&one.file)).expect("there").len(), one.bytes);
            assert_eq!(one.fault, one.file.starts_with(FAULTS));
        }
    }
}
