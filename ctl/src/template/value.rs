//! The values templates see, shaped like Go's: structs keep their order and know their type's name, maps are sorted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Number;

/// A method of a row: `{{.Label "name"}}`.
pub(crate) type Method = Arc<dyn Fn(&[Value]) -> Result<Value, String> + Send + Sync>;

/// Anything a template can hold.
#[derive(Clone)]
pub(crate) enum Value {
    /// Nothing is there: prints as `<no value>`.
    Missing,
    /// A nil pointer or interface: prints as `<nil>`, JSON null.
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Str(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    Struct(Struct),
    Method(Method),
}

/// A Go struct: fields in order under their Go names, each with its JSON name.
#[derive(Clone)]
pub(crate) struct Struct {
    /// As Go prints it in errors: `formatter.ContainerContext`.
    pub(crate) type_name: &'static str,
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// None = left out of JSON.
    pub(crate) json: Option<&'static str>,
    pub(crate) value: Value,
}

impl Struct {
    pub(crate) fn new(type_name: &'static str) -> Self {
        Self {
            type_name,
            fields: Vec::new(),
        }
    }

    pub(crate) fn with(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.json_as(name, Some(name), value)
    }

    /// A field whose JSON name differs, or that JSON does not show.
    pub(crate) fn json_as(mut self, name: &'static str, json: Option<&'static str>, value: impl Into<Value>) -> Self {
        self.fields.push(Field {
            name,
            json,
            value: value.into(),
        });
        self
    }

    /// A field that JSON leaves out while it is empty.
    pub(crate) fn omit_empty(self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let json = value.truth().then_some(name);
        self.json_as(name, json, value)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| &field.value)
    }
}

impl Value {
    /// Go's notion of truth: not the zero value.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Null => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Uint(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(items) => !items.is_empty(),
            Self::Struct(_) | Self::Method(_) => true,
        }
    }

    /// The type as Go would name it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Null => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint64",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Struct(it) => it.type_name,
            Self::Method(_) => "func",
        }
    }

    /// Compact JSON, as Go's encoder writes it with HTML escaping off.
    pub(crate) fn json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out, None);
        out
    }

    /// JSON indented by four blanks, as `docker inspect` prints it.
    pub(crate) fn pretty_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out, Some(0));
        out
    }

    fn write_json(&self, out: &mut String, depth: Option<usize>) {
        match self {
            Self::Missing | Self::Null | Self::Method(_) => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Uint(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&Number::from_f64(*value).map_or("null".into(), |n| n.to_string())),
            Self::Str(text) => out.push_str(&quote(text)),
            Self::List(items) => {
                write_items(out, depth, '[', ']', items.iter().map(|item| (None, item)));
            }
            Self::Map(items) => {
                write_items(
                    out,
                    depth,
                    '{',
                    '}',
                    items.iter().map(|(key, item)| (Some(key.as_str()), item)),
                );
            }
            Self::Struct(it) => {
                let shown = it.fields.iter().filter(|field| !matches!(field.value, Self::Method(_)));
                let named = shown.filter_map(|field| field.json.map(|json| (Some(json), &field.value)));
                write_items(out, depth, '{', '}', named);
            }
        }
    }
}

fn write_items<'a>(
    out: &mut String,
    depth: Option<usize>,
    open: char,
    close: char,
    items: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
) {
    let inner = depth.map(|depth| depth + 1);
    let mut empty = true;
    out.push(open);
    for (key, item) in items {
        if !empty {
            out.push(',');
        }
        empty = false;
        new_line(out, inner);
        if let Some(key) = key {
            out.push_str(&quote(key));
            out.push_str(if depth.is_some() { ": " } else { ":" });
        }
        item.write_json(out, inner);
    }
    if !empty {
        new_line(out, depth);
    }
    out.push(close);
}

fn new_line(out: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    }
}

/// A JSON string.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// As Go's `%v` prints it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("<no value>"),
            Self::Null => f.write_str("<nil>"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Str(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                joined(f, items.iter(), |f, item| write!(f, "{item}"))?;
                f.write_str("]")
            }
            Self::Map(items) => {
                f.write_str("map[")?;
                joined(f, items.iter(), |f, (key, item)| write!(f, "{key}:{item}"))?;
                f.write_str("]")
            }
            Self::Struct(it) => {
                f.write_str("{")?;
                joined(f, it.fields.iter(), |f, field| write!(f, "{}", field.value))?;
                f.write_str("}")
            }
            Self::Method(_) => f.write_str("func"),
        }
    }
}

fn joined<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = T>,
    show: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.enumerate() {
        if at > 0 {
            f.write_str(" ")?;
        }
        show(f, item)?;
    }
    Ok(())
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json())
    }
}

macro_rules! from {
    ($($kind:ty => $variant:ident as $wide:ty),*) => {
        $(impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                Self::$variant(<$wide>::from(value))
            }
        })*
    };
}

from!(bool => Bool as bool, i32 => Int as i64, i64 => Int as i64, u32 => Int as i64, u64 => Uint as u64, f64 => Float as f64,
    &str => Str as String, String => Str as String, &String => Str as String, Vec<Value> => List as Vec<Value>,
    Struct => Struct as Struct);

impl From<&[String]> for Value {
    fn from(items: &[String]) -> Self {
        Self::List(items.iter().map(Value::from).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<K: ToString, V: Into<Value>> FromIterator<(K, V)> for Value {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        Self::Map(
            items
                .into_iter()
                .map(|(key, value)| (key.to_string(), value.into()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        let labels: Value = [("b", "2"), ("a", "<1>")].into_iter().collect();
        let it = Struct::new("t")
            .with("Name", "x")
            .with("Labels", labels)
            .with("None", Value::Null);
        it.omit_empty("Gone", "").json_as("ID", Some("id"), 7).into()
    }

    #[test]
    fn json_keeps_struct_order_and_sorts_maps() {
        assert_eq!(
            sample().json(),
            r#"{"Name":"x","Labels":{"a":"<1>","b":"2"},"None":null,"id":7}"#
        );
        let list = Value::List(vec![Value::from(1), Value::List(vec![])]);
        assert_eq!(list.pretty_json(), "[\n    1,\n    []\n]");
    }

    #[test]
    fn prints_as_go_does() {
        assert_eq!(sample().to_string(), "{x map[a:<1> b:2] <nil>  7}");
        assert_eq!(
            Value::from(["a".to_owned(), "b".to_owned()].as_slice()).to_string(),
            "[a b]"
        );
        assert_eq!(Value::Missing.to_string(), "<no value>");
    }
}
