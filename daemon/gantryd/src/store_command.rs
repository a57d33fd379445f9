//! `gantryd store check` and `gantryd store repair`: looking after the metadata while no daemon runs.

use crate::config::StoreDeed;
use crate::error::{Error, Result};
use crate::wiring::store_dir;
use gantry_store::{Damage, RepairReport, Store, StoreOptions};
use std::io::Write;
use std::path::Path;

pub fn run(deed: &StoreDeed) -> Result<()> {
    let lines = match deed {
        StoreDeed::Check(place) => check(&existing(&place.data_root)?)?,
        StoreDeed::Repair(place) => {
            repaired(&Store::repair(&existing(&place.data_root)?).map_err(gantry_core::Error::from)?)
        }
    };
    let mut out = std::io::stdout();
    for line in lines {
        writeln!(out, "{line}").map_err(|source| Error::System {
            deed: "write to standard output",
            source,
        })?;
    }
    Ok(())
}

/// A mistyped directory must not become an empty store.
fn existing(data_root: &Path) -> Result<std::path::PathBuf> {
    let dir = store_dir(data_root);
    match dir.is_dir() {
        true => Ok(dir),
        false => Err(Error::bad(
            "--data-root",
            format!("there is no store in {}", data_root.display()),
        )),
    }
}

/// Opens it as a daemon would, which reads everything once.
fn check(dir: &Path) -> Result<Vec<String>> {
    let store = Store::open(dir, &StoreOptions::default()).map_err(gantry_core::Error::from)?;
    let mut lines = Vec::new();
    for damage in store.damage() {
        match damage {
            Damage::Value { table, key, reason } => {
                lines.push(format!("{table}: record {key} went into quarantine: {reason}"))
            }
            Damage::Table(report) => lines.extend(repaired(&report)),
            Damage::TornLog { kept } => lines.push(format!(
                "the log ended in a torn write, its bytes are kept in {}",
                kept.display()
            )),
        }
    }
    let quarantined = store.quarantined().map_err(gantry_core::Error::from)?;
    lines.extend(
        quarantined
            .iter()
            .map(|entry| format!("{}: record {} is in quarantine", entry.table, entry.key)),
    );
    if lines.is_empty() {
        lines.push(format!("{} is sound", dir.display()));
    }
    Ok(lines)
}

fn repaired(report: &RepairReport) -> Vec<String> {
    let RepairReport {
        kept,
        records,
        quarantined,
        lost,
    } = report;
    let mut lines = vec![
        format!("{records} records carried over, {quarantined} of them damaged and now in quarantine"),
        format!("the damaged original is kept in {}", kept.display()),
    ];
    lines.extend(lost.iter().map(|what| format!("lost: {what}")));
    lines
}
