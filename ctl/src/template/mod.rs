//! Go's text/template over our values: what `--format` and `inspect -f` speak.
//!
//! A template is parsed once and run over many values. Syntax: <https://pkg.go.dev/text/template>.

mod eval;
mod funcs;
mod lex;
mod parse;
mod printf;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use value::{Struct, Value};

/// Why a template did not work. The text is the one Go gives.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("template: :{line}: {why}")]
    Parse { line: usize, why: String },
    #[error("{0}")]
    Exec(String),
}

impl TemplateError {
    fn parse(line: usize, why: impl Into<String>) -> Self {
        Self::Parse { line, why: why.into() }
    }
}

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    source: String,
    tree: parse::Tree,
}

impl Template {
    pub(crate) fn parse(source: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            source: source.to_owned(),
            tree: parse::parse(source)?,
        })
    }

    /// What the template makes of `data`.
    pub(crate) fn run(&self, data: &Value) -> Result<String, TemplateError> {
        eval::Run::new(&self.tree, &self.source, false, false).run(data)
    }

    /// The same, but a key that a map lacks is an error.
    pub(crate) fn run_strict(&self, data: &Value) -> Result<String, TemplateError> {
        eval::Run::new(&self.tree, &self.source, false, true).run(data)
    }

    /// A table's header: `titles` maps fields to what stands above their column.
    pub(crate) fn header(&self, titles: &Value) -> Result<String, TemplateError> {
        eval::Run::new(&self.tree, &self.source, true, false).run(titles)
    }
}
