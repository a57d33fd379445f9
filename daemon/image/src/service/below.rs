//! The chain that the next layer is put on.

use super::apart::Draft;
use super::layers::Plan;
use super::{Inner, Job};
use crate::error::Result;
use crate::unpack::{Applied, inherit};
use gantry_core::Digest;
use std::path::PathBuf;

/// The chain committed so far.
#[derive(Default)]
pub(super) struct Below {
    pub(super) chain: Option<Digest>,
    /// Directories of its layers, nearest first; `None` if not known.
    dirs: Option<Vec<PathBuf>>,
}

impl Below {
    pub(super) fn on_existing(self, plan: &Plan) -> Self {
        Self {
            chain: Some(plan.chain_id.clone()),
            dirs: None,
        }
    }

    pub(super) fn commit(
        mut self,
        inner: &Inner,
        job: &Job,
        plan: &Plan,
        draft: Draft,
        applied: &Applied,
        apart: bool,
    ) -> Result<Self> {
        let dir = draft.target.dir.clone();
        if !apart {
            draft.commit(&plan.chain_id, None)?;
            return Ok(self.on_existing(plan));
        }
        if self.chain.is_some() && !applied.implied.is_empty() {
            inherit(&dir, &applied.implied, self.directories(inner, job)?)?;
        }
        draft.commit(&plan.chain_id, self.chain.as_ref())?;
        let dirs = match (self.chain, self.dirs) {
            (None, _) => Some(vec![dir]),
            (Some(_), Some(mut dirs)) => {
                dirs.insert(0, dir);
                Some(dirs)
            }
            (Some(_), None) => None,
        };
        Ok(Self {
            chain: Some(plan.chain_id.clone()),
            dirs,
        })
    }

    /// Known from the commits of this run, else asked of a snapshot made for the question.
    fn directories(&mut self, inner: &Inner, job: &Job) -> Result<&[PathBuf]> {
        let known = self.dirs.take().filter(|dirs| dirs.iter().all(|dir| dir.is_dir()));
        let dirs = match known {
            Some(dirs) => dirs,
            None => match Draft::prepare(inner, job, None, self.chain.as_ref())? {
                Some(question) => question.target.lower.clone(),
                None => Vec::new(),
            },
        };
        Ok(self.dirs.insert(dirs))
    }
}
