//! Exit records: what a shim wrote down, durably, before it told anyone.

use crate::error::{Result, TaskError};
use crate::process::ProcessMark;
use gantry_shim_protocol::{ExitRecord, exit_file_name};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The record of one process: the task's own (`exec` = `None`) or an exec's. `None` if there is none.
pub fn exit_record(state_dir: &Path, exec: Option<&str>) -> Result<Option<ExitRecord>> {
    read(&state_dir.join(exit_file_name(exec)))
}

/// Whether the task's own end is written down.
pub fn has_exit_record(state_dir: &Path) -> bool {
    state_dir.join(exit_file_name(None)).exists()
}

/// Every record in a state directory.
pub fn exit_records(state_dir: &Path) -> Result<Vec<ExitRecord>> {
    let fail = |source| TaskError::ReadRecord {
        path: state_dir.to_owned(),
        source,
    };
    let listing = match fs::read_dir(state_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(fail)?,
    };
    let mut records = Vec::new();
    for entry in listing {
        let entry = entry.map_err(fail)?;
        if is_record(&entry.file_name().to_string_lossy()) {
            records.extend(read(&entry.path())?);
        }
    }
    Ok(records)
}

/// Removes every record of a former run, so that the next one cannot be mistaken for it.
pub fn forget_exits(state_dir: &Path) -> Result<()> {
    let fail = |source| TaskError::ReadRecord {
        path: state_dir.to_owned(),
        source,
    };
    let listing = match fs::read_dir(state_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        listing => listing.map_err(fail)?,
    };
    for entry in listing {
        let entry = entry.map_err(fail)?;
        if is_record(&entry.file_name().to_string_lossy()) {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.map_err(fail)?,
            }
        }
    }
    Ok(())
}

/// The task's own record, if it is of the run that `mark` began. Without a mark any record will do.
pub(crate) fn own_exit(state_dir: &Path, mark: Option<&ProcessMark>) -> Result<Option<ExitRecord>> {
    let record = exit_record(state_dir, None)?;
    Ok(record.filter(|record| mark.is_none_or(|mark| is_of(record, mark))))
}

fn is_of(record: &ExitRecord, mark: &ProcessMark) -> bool {
    let begun = record.start_time == 0 || mark.start_time == 0 || record.start_time == mark.start_time;
    record.pid == mark.pid && record.boot_id == mark.boot_id && begun
}

fn is_record(name: &str) -> bool {
    name == "exit.json" || (name.starts_with("exit-") && name.ends_with(".json"))
}

fn read(path: &Path) -> Result<Option<ExitRecord>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|source| TaskError::ReadRecord {
            path: path.to_owned(),
            source,
        })?,
    };
    if bytes.is_empty() {
        // That of an exec, after a loss of power.
        return Ok(None);
    }
    let record = serde_json::from_slice(&bytes);
    record.map(Some).map_err(|source| TaskError::DecodeRecord {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pid: u32, start_time: u64, boot: &str) -> ExitRecord {
        ExitRecord {
            container: "c".into(),
            pid,
            status: 5,
            start_time,
            boot_id: boot.into(),
            ..ExitRecord::default()
        }
    }

    #[test]
    fn a_former_runs_record_is_not_taken_for_this_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mark = ProcessMark {
            pid: 7,
            start_time: 100,
            boot_id: "b".into(),
        };
        assert_eq!(own_exit(dir.path(), Some(&mark)).unwrap(), None);
        for (pid, start_time, boot, ours) in [
            (7, 100, "b", true),
            (7, 0, "b", true),
            (7, 101, "b", false),
            (8, 100, "b", false),
            (7, 100, "a", false),
        ] {
            let text = serde_json::to_vec(&record(pid, start_time, boot)).unwrap();
            fs::write(dir.path().join("exit.json"), text).unwrap();
            assert_eq!(
                own_exit(dir.path(), Some(&mark)).unwrap().is_some(),
                ours,
                "{pid} {start_time} {boot}"
            );
            assert!(own_exit(dir.path(), None).unwrap().is_some());
        }
    }

    #[test]
    fn records_are_listed_forgotten_and_damage_is_said() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["exit.json", "exit-e1.json"] {
            fs::write(dir.path().join(name), serde_json::to_vec(&record(1, 1, "b")).unwrap()).unwrap();
        }
        fs::write(dir.path().join("other.json"), b"{").unwrap();
        assert_eq!(exit_records(dir.path()).unwrap().len(), 2);
        assert!(exit_record(dir.path(), Some("e1")).unwrap().is_some());
        forget_exits(dir.path()).unwrap();
        assert!(exit_records(dir.path()).unwrap().is_empty() && dir.path().join("other.json").exists());
        fs::write(dir.path().join("exit.json"), b"{").unwrap();
        assert_eq!(
            exit_record(dir.path(), None).unwrap_err().kind(),
            gantry_core::ErrorKind::DataLoss
        );
    }
}
