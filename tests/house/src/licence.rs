//! Licences: permissive only, ours and everyone's.

use crate::{Finding, Plan};

/// SPDX ids that ask for no more than a notice.
const PERMISSIVE: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Packages that were looked at by hand, each with the reason that it may stay.
pub const LOOKED_AT: [(&str, &str); 2] = [
    ("rust-criu", "its manifest names a file, whose text is the MIT licence"),
    (
        "pathrs",
        "MPL-2.0 or LGPL-3.0: comes with libcontainer (decision 6), used unchanged from the registry; MPL-2.0 binds \
         its own files only and lets the whole be Apache-2.0",
    ),
];

const OURS: &str = "Apache-2.0";

pub fn judge(plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &plan.packages {
        let at = format!("{} {}", package.name, package.version);
        let licence = package.licence.as_deref();
        if package.ours {
            if licence != Some(OURS) {
                findings.push(Finding::new(
                    at,
                    format!("our licence is {OURS}: say `license.workspace = true`"),
                ));
            }
            continue;
        }
        if LOOKED_AT.iter().any(|(name, _)| *name == package.name) {
            continue;
        }
        match licence {
            None => findings.push(Finding::new(
                at,
                "names no licence: read its text and list it in LOOKED_AT, or drop it",
            )),
            Some(text) if !permits(text) => findings.push(Finding::new(
                at,
                format!(
                    "licence \"{text}\" is not permissive: take another library (permissive are {})",
                    PERMISSIVE.join(", ")
                ),
            )),
            Some(_) => {}
        }
    }
    findings
}

/// Whether an SPDX expression leaves a choice that is permissive throughout. The old `/` means OR.
pub fn permits(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let good = parser.any();
    good == Some(true) && parser.at == tokens.len()
}

/// `any := all (OR all)*`, `all := one (AND one)*`, `one := ( any ) | id [WITH exception]`. OR binds weakest.
struct Parser<'a> {
    tokens: &'a [&'a str],
    at: usize,
}

impl Parser<'_> {
    fn take(&mut self, word: &str) -> bool {
        let is = self.tokens.get(self.at) == Some(&word);
        self.at += usize::from(is);
        is
    }

    fn any(&mut self) -> Option<bool> {
        let mut good = self.all()?;
        while self.take("OR") {
            good |= self.all()?;
        }
        Some(good)
    }

    fn all(&mut self) -> Option<bool> {
        let mut good = self.one()?;
        while self.take("AND") {
            good &= self.one()?;
        }
        Some(good)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let good = self.any()?;
            return self.take(")").then_some(good);
        }
        let mut id = (*self.tokens.get(self.at)?).to_owned();
        self.at += 1;
        if self.take("WITH") {
            id = format!("{id} WITH {}", self.tokens.get(self.at)?);
            self.at += 1;
        }
        Some(PERMISSIVE.contains(&id.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Package;

    #[test]
    fn expressions() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "GPL-2.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "LGPL-2.1-or-later AND MIT OR ISC",
        ] {
            assert!(permits(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0-only",
            "MPL-2.0 OR LGPL-3.0-or-later",
            "MIT AND GPL-2.0-only",
            "MIT AND (ISC AND AGPL-3.0-only)",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "(MIT",
            "MIT Apache-2.0",
            "MIT AND",
        ] {
            assert!(!permits(bad), "{bad}");
        }
    }

    #[test]
    fn bad_packages_are_named() {
        let package = |name: &str, licence: Option<&str>, ours| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.map(str::to_owned),
            ours,
        };
        let plan = Plan {
            packages: vec![
                package("fine", Some("MIT"), false),
                package("copyleft", Some("GPL-3.0-only"), false),
                package("silent", None, false),
                package("gantry-x", Some("MIT"), true),
            ],
            ..Plan::default()
        };
        let found: Vec<String> = judge(&plan).into_iter().map(|finding| finding.at).collect();
        assert_eq!(found, ["copyleft 1.0.0", "silent 1.0.0", "gantry-x 1.0.0"]);
    }
}
