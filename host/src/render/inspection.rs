//! What a component is.

use std::path::Path;

use host_core::release::{Description, StateFormat};
use host_runtime::artifact::Inspection;
use serde::Serialize;

use super::{json, lists::fields, units::bytes};

pub(super) fn text(file: &Path, inspection: &Inspection) -> String {
    let mut rows = vec![("digest", inspection.digest.to_string()), ("size", bytes(inspection.bytes))];
    match &inspection.description {
        Ok(description) => {
            rows.push(("writes", format(description.writes)));
            rows.push(("upgrades from", formats(&description.upgrades_from)));
            rows.push(("downgrades to", formats(&description.downgrades_to)));
            if !description.protocols.is_empty() {
                rows.push(("protocols", description.protocols.join(", ")));
            }
        }
        Err(why) => rows.push(("no workload", format!("{why}"))),
    }
    rows.push(("exports", inspection.exports.join("\n")));
    rows.push(("imports", inspection.imports.join("\n")));
    format!("{}\n{}", file.display(), fields(&rows))
}

fn format(format: StateFormat) -> String {
    format!("schema {}, fingerprint {:016x}", format.schema, format.fingerprint)
}

fn formats(formats: &[StateFormat]) -> String {
    let texts: Vec<String> = formats.iter().copied().map(format).collect();
    if texts.is_empty() { "nothing".to_owned() } else { texts.join("\n") }
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    file: &'a Path,
    digest: String,
    size_bytes: u64,
    /// Why it can't be a workload.
    unfit: Option<String>,
    description: Option<Described<'a>>,
    exports: &'a [String],
    imports: &'a [String],
}

#[derive(Serialize)]
struct Described<'a> {
    writes: json::report::Format,
    upgrades_from: Vec<json::report::Format>,
    downgrades_to: Vec<json::report::Format>,
    protocols: &'a [String],
}

impl<'a> Described<'a> {
    fn of(description: &'a Description) -> Self {
        let all = |formats: &[StateFormat]| formats.iter().copied().map(json::report::Format::of).collect();
        Self {
            writes: json::report::Format::of(description.writes),
            upgrades_from: all(&description.upgrades_from),
            downgrades_to: all(&description.downgrades_to),
            protocols: &description.protocols,
        }
    }
}

pub(super) fn document<'a>(file: &'a Path, inspection: &'a Inspection) -> Document<'a> {
    Document {
        file,
        digest: inspection.digest.to_string(),
        size_bytes: inspection.bytes,
        unfit: inspection.description.as_ref().err().map(ToString::to_string),
        description: inspection.description.as_ref().ok().map(Described::of),
        exports: &inspection.exports,
        imports: &inspection.imports,
    }
}
