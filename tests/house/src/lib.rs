//! The judge of the house: reads the manifests and says where they break docs/ARCHITECTURE.md.
//!
//! It looks at what cargo itself understands (`cargo metadata`) and at the manifests' text, never at sources. One flow: a
//! [`Plan`] is read, each rule looks at the plan and answers with [`Finding`]s, and a test fails if there is one. Rules
//! take a plan, so that made-up bad plans prove that they judge.

pub mod arrows;
pub mod licence;
mod plan;
mod read;
pub mod rooms;
pub mod sight;
pub mod size;
pub mod versions;

pub use plan::{Crate, Dependency, Kind, Package, Plan};
pub use read::{read, root};

use std::fmt;

/// One breach of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Crate or file.
    pub at: String,
    pub what: String,
}

impl Finding {
    pub fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Every rule, over a plan.
pub fn judge(plan: &Plan) -> Vec<Finding> {
    let rules = [
        rooms::judge,
        arrows::judge,
        sight::judge,
        licence::judge,
        versions::judge,
    ];
    rules.iter().flat_map(|rule| rule(plan)).collect()
}
