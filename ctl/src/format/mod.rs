//! How lists are shown: Docker's tables, `--format`, and the units in them.

pub(crate) mod natural;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod units;

use crate::error::{Error, Result};
use crate::template::{Template, Value};

/// How a list is to be shown.
pub(crate) enum Format {
    /// A table, header first. The template's cells are separated by tabs.
    Table(String),
    /// One line of JSON per row.
    Json,
    /// A line of the template per row.
    Raw(String),
}

impl Format {
    /// Reads `--format`; `table` alone and nothing mean the command's own table.
    pub(crate) fn parse(flag: Option<&str>, default_table: &str) -> Self {
        let flag = flag.unwrap_or("");
        match flag.trim() {
            "" | "table" => Self::Table(default_table.to_owned()),
            "json" => Self::Json,
            _ => match flag.strip_prefix("table") {
                Some(template) => Self::Table(unescape(template.trim())),
                None => Self::Raw(unescape(flag)),
            },
        }
    }

    /// The rows as text. `titles` are the headers of a table's columns by field.
    pub(crate) fn render(&self, titles: &[(&str, &str)], rows: &[Value]) -> Result<String> {
        let mut out = String::new();
        match self {
            Self::Json => {
                for row in rows {
                    out.push_str(&row.json());
                    out.push('\n');
                }
                Ok(out)
            }
            Self::Raw(source) => {
                let template = Template::parse(source).map_err(Error::TemplateParse)?;
                lines(&template, rows, &mut out)?;
                Ok(out)
            }
            Self::Table(source) => {
                let template = Template::parse(source).map_err(Error::TemplateParse)?;
                let titles: Value = titles.iter().copied().collect();
                out.push_str(&template.header(&titles).map_err(Error::TemplateRun)?);
                out.push('\n');
                lines(&template, rows, &mut out)?;
                Ok(table::align(&out))
            }
        }
    }
}

fn lines(template: &Template, rows: &[Value], out: &mut String) -> Result<()> {
    for row in rows {
        out.push_str(&template.run(row).map_err(Error::TemplateRun)?);
        out.push('\n');
    }
    Ok(())
}

/// `\t` and `\n` as they are written in a shell's quotes.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// A row: JSON shows its fields in the order of their names, as Go marshals a map.
pub(crate) fn row(mut it: crate::template::Struct) -> Value {
    it.fields.sort_by_key(|field| field.name);
    it.into()
}

/// The first `most` characters, the last of them an ellipsis if some are left out.
pub(crate) fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    match most {
        0 => String::new(),
        1 => "…".to_owned(),
        _ => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// Twelve digits of an id, with or without its algorithm.
pub(crate) fn short_id(id: &str) -> String {
    let bare = id.split_once(':').map_or(id, |(_, bare)| bare);
    bare.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Struct;

    fn rows() -> Vec<Value> {
        vec![row(Struct::new("formatter.X").with("Name", "a").with("ID", "1"))]
    }

    #[test]
    fn tables_json_and_templates() {
        let titles = [("ID", "CONTAINER ID"), ("Name", "NAMES")];
        let show = |flag: Option<&str>| Format::parse(flag, "{{.ID}}\t{{.Name}}").render(&titles, &rows());
        assert_eq!(show(None).unwrap(), "CONTAINER ID   NAMES\n1              a\n");
        assert_eq!(
            show(Some("table {{.Name}}\\t{{.ID}}")).unwrap(),
            "NAMES     CONTAINER ID\na         1\n"
        );
        assert_eq!(show(Some("json")).unwrap(), "{\"ID\":\"1\",\"Name\":\"a\"}\n");
        assert_eq!(show(Some("{{.Name}}!")).unwrap(), "a!\n");
        let err = show(Some("{{.Foo}}")).unwrap_err().to_string();
        assert!(err.contains("can't evaluate field Foo in type formatter.X"), "{err}");
    }

    #[test]
    fn ellipsis_counts_itself() {
        assert_eq!(ellipsis("0123456789", 5), "0123…");
        assert_eq!(ellipsis("01234", 5), "01234");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
