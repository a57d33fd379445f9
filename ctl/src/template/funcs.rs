//! The functions templates may call: Go's own and Docker's.

use std::cmp::Ordering;

use super::printf::printf;
use super::value::Value;

const NAMES: [&str; 26] = [
    "and", "eq", "ge", "gt", "html", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not", "or", "pad",
    "print", "printf", "println", "slice", "split", "title", "truncate", "upper", "urlquery", "js",
];

pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// In a table's header Docker's functions give back what they are given, and Go's work as ever.
pub(crate) fn call_header(name: &str, args: &[Value]) -> Result<Value, String> {
    match name {
        "json" | "split" | "join" | "title" | "lower" | "upper" => Ok(args.first().cloned().unwrap_or(Value::Missing)),
        "truncate" => Ok(args.first().cloned().unwrap_or(Value::Missing)),
        _ => call(name, args),
    }
}

pub(crate) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let (least, most) = arity(name);
    if args.len() < least {
        let want = if most == usize::MAX {
            format!("at least {least}")
        } else {
            least.to_string()
        };
        return Err(format!(
            "wrong number of args for {name}: want {want} got {}",
            args.len()
        ));
    }
    if args.len() > most {
        return Err(format!(
            "wrong number of args for {name}: want {most} got {}",
            args.len()
        ));
    }
    match name {
        "and" | "or" => Ok(args.last().cloned().unwrap_or(Value::Missing)),
        "not" => Ok(Value::Bool(!args[0].truth())),
        "eq" => equal_any(args),
        "ne" => Ok(Value::Bool(!equal(&args[0], &args[1])?)),
        "lt" => Ok(Value::Bool(order(&args[0], &args[1])?.is_lt())),
        "le" => Ok(Value::Bool(order(&args[0], &args[1])?.is_le())),
        "gt" => Ok(Value::Bool(order(&args[0], &args[1])?.is_gt())),
        "ge" => Ok(Value::Bool(order(&args[0], &args[1])?.is_ge())),
        "len" => length(&args[0]),
        "index" => args[1..]
            .iter()
            .try_fold(args[0].clone(), |value, key| index(&value, key)),
        "slice" => slice(args),
        "print" => Ok(print(args).into()),
        "println" => Ok(format!("{}\n", spaced(args)).into()),
        "printf" => printf(&text(&args[0])?, &args[1..]).map(Value::Str),
        "html" => Ok(escape_html(&print(args)).into()),
        "js" => Ok(serde_json::Value::from(print(args))
            .to_string()
            .trim_matches('"')
            .replace('\'', "\\'")
            .into()),
        "urlquery" => Ok(escape_query(&print(args)).into()),
        "json" => Ok(args[0].json().into()),
        "split" => {
            let (whole, by) = (text(&args[0])?, text(&args[1])?);
            Ok(Value::List(split(&whole, &by)))
        }
        "join" => join(&args[0], &text(&args[1])?),
        "title" => Ok(title(&text(&args[0])?).into()),
        "lower" => Ok(text(&args[0])?.to_lowercase().into()),
        "upper" => Ok(text(&args[0])?.to_uppercase().into()),
        "pad" => pad(args),
        "truncate" => truncate(args),
        other => Err(format!("{other:?} is not a defined function")),
    }
}

/// The fewest and most arguments.
fn arity(name: &str) -> (usize, usize) {
    match name {
        "not" | "len" | "json" | "title" | "lower" | "upper" => (1, 1),
        "ne" | "lt" | "le" | "gt" | "ge" | "split" | "join" | "truncate" => (2, 2),
        "pad" => (3, 3),
        "and" | "or" | "index" | "printf" => (1, usize::MAX),
        "eq" => (1, usize::MAX),
        "slice" => (1, 4),
        _ => (0, usize::MAX),
    }
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        Value::Missing => Err("invalid value; expected string".into()),
        other => Err(format!(
            "wrong type for value; expected string; got {}",
            other.type_name()
        )),
    }
}

fn whole(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Uint(number) => i64::try_from(*number).map_err(|_| "index out of range".to_owned()),
        Value::Missing | Value::Null => Err("cannot index slice/array with nil".into()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Uint(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn equal(left: &Value, right: &Value) -> Result<bool, String> {
    match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Str(a), Value::Str(b)) => Ok(a == b),
        (Value::Missing | Value::Null, Value::Missing | Value::Null) => Ok(true),
        (Value::Missing | Value::Null, _) | (_, Value::Missing | Value::Null) => Ok(false),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        (Value::Uint(a), Value::Uint(b)) => Ok(a == b),
        (Value::Map(_) | Value::List(_) | Value::Struct(_) | Value::Method(_), _) => {
            Err("non-comparable type for comparison".into())
        }
        _ => match (number(left), number(right)) {
            (Some(a), Some(b)) => Ok(a == b),
            _ => Err("incompatible types for comparison".into()),
        },
    }
}

fn equal_any(args: &[Value]) -> Result<Value, String> {
    if args.len() < 2 {
        return Err("missing argument for comparison".into());
    }
    for other in &args[1..] {
        if equal(&args[0], other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn order(left: &Value, right: &Value) -> Result<Ordering, String> {
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        _ => match (number(left), number(right)) {
            (Some(a), Some(b)) => a
                .partial_cmp(&b)
                .ok_or_else(|| "invalid type for comparison".to_owned()),
            _ => Err("incompatible types for comparison".into()),
        },
    }
}

fn length(value: &Value) -> Result<Value, String> {
    let count = match value {
        Value::Str(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(items) => items.len(),
        Value::Missing | Value::Null => 0,
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(count as i64))
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match value {
        Value::Map(items) => Ok(items.get(&text(key)?).cloned().unwrap_or(Value::Missing)),
        Value::List(items) => {
            let at = whole(key)?;
            let found = usize::try_from(at).ok().and_then(|at| items.get(at));
            found.cloned().ok_or_else(|| format!("index out of range: {at}"))
        }
        Value::Str(word) => {
            let at = whole(key)?;
            let found = usize::try_from(at).ok().and_then(|at| word.as_bytes().get(at));
            found
                .map(|byte| Value::Int(i64::from(*byte)))
                .ok_or_else(|| format!("index out of range: {at}"))
        }
        Value::Missing | Value::Null => Err("index of untyped nil".into()),
        other => Err(format!("can't index item of type {}", other.type_name())),
    }
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let size = match &args[0] {
        Value::Str(text) => text.len(),
        Value::List(items) => items.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let bound = |at: usize, fallback: usize| match args.get(at) {
        None => Ok(fallback),
        Some(value) => {
            let bound = whole(value)?;
            usize::try_from(bound)
                .ok()
                .filter(|bound| *bound <= size)
                .ok_or_else(|| format!("index out of range: {bound}"))
        }
    };
    let (from, to) = (bound(1, 0)?, bound(2, size)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match &args[0] {
        Value::Str(text) => Ok(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned().into()),
        Value::List(items) => Ok(Value::List(items[from..to].to_vec())),
        _ => Ok(Value::Missing),
    }
}

/// Blanks only between two operands of which neither is a string.
fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        let strings = at > 0 && (matches!(arg, Value::Str(_)) || matches!(args[at - 1], Value::Str(_)));
        if at > 0 && !strings {
            out.push(' ');
        }
        out.push_str(&arg.to_string());
    }
    out
}

fn spaced(args: &[Value]) -> String {
    args.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn split(whole: &str, by: &str) -> Vec<Value> {
    if by.is_empty() {
        return whole.chars().map(|it| it.to_string().into()).collect();
    }
    whole.split(by).map(Value::from).collect()
}

fn join(list: &Value, by: &str) -> Result<Value, String> {
    match list {
        Value::List(items) => {
            let texts = items.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            Ok(texts.join(by).into())
        }
        Value::Null | Value::Missing => Ok("".into()),
        other => Err(format!(
            "wrong type for value; expected []string; got {}",
            other.type_name()
        )),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    let letter = |it: char| {
        let out = if start {
            it.to_uppercase().collect::<String>()
        } else {
            it.to_string()
        };
        start = !(it.is_alphanumeric() || it == '_' || it == '\'');
        out
    };
    text.chars().map(letter).collect()
}

/// Blanks before and after, unless the text is empty.
fn pad(args: &[Value]) -> Result<Value, String> {
    let source = text(&args[0])?;
    let blanks = |value: &Value| whole(value).map(|count| " ".repeat(usize::try_from(count).unwrap_or(0)));
    let (before, after) = (blanks(&args[1])?, blanks(&args[2])?);
    Ok(if source.is_empty() {
        source.into()
    } else {
        format!("{before}{source}{after}").into()
    })
}

/// At most so many bytes.
fn truncate(args: &[Value]) -> Result<Value, String> {
    let source = text(&args[0])?;
    let most = usize::try_from(whole(&args[1])?).unwrap_or(0);
    if source.len() <= most {
        return Ok(source.into());
    }
    Ok(String::from_utf8_lossy(&source.as_bytes()[..most]).into_owned().into())
}

fn escape_html(text: &str) -> String {
    let mut out = String::new();
    for it in text.chars() {
        match it {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
    }
    out
}

fn escape_query(text: &str) -> String {
    let byte = |it: u8| match it {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(it).to_string(),
        b' ' => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
