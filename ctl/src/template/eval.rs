//! Runs a parsed template over a value.

use super::TemplateError;
use super::funcs;
use super::parse::{Base, Command, Node, Operand, Pipeline, Tree};
use super::value::Value;

/// Calls of templates by templates deeper than this end in an error.
const MAX_DEPTH: usize = 100;

/// What running a list of nodes came to.
#[derive(PartialEq, Clone, Copy)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(crate) struct Run<'a> {
    tree: &'a Tree,
    source: &'a str,
    out: String,
    names: Vec<(String, Value)>,
    /// Show what the data would be called, not the data: for the header of a table.
    header: bool,
    /// A key that a map lacks is an error, as in the second try of `inspect`.
    strict: bool,
    depth: usize,
}

impl<'a> Run<'a> {
    pub(crate) fn new(tree: &'a Tree, source: &'a str, header: bool, strict: bool) -> Self {
        Self {
            tree,
            source,
            out: String::new(),
            names: Vec::new(),
            header,
            strict,
            depth: 0,
        }
    }

    pub(crate) fn run(mut self, data: &Value) -> Result<String, TemplateError> {
        self.names.push((String::new(), data.clone()));
        let tree = self.tree;
        self.nodes(&tree.root, data)?;
        Ok(self.out)
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        for node in nodes {
            let mark = self.names.len();
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::Next
                }
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.names.is_empty() {
                        self.out.push_str(&value.to_string());
                    }
                    continue;
                }
                Node::If { test, then, other } => {
                    let truth = self.pipeline(test, dot)?.truth();
                    self.nodes(if truth { then } else { other }, dot)?
                }
                Node::With { test, then, other } => {
                    let value = self.pipeline(test, dot)?;
                    if value.truth() {
                        self.nodes(then, &value)?
                    } else {
                        self.nodes(other, dot)?
                    }
                }
                Node::Range { over, body, other } => self.range(over, body, other, dot)?,
                Node::Call { name, with, line } => self.call(name, with.as_ref(), *line, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            self.names.truncate(mark);
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn call(&mut self, name: &str, with: Option<&Pipeline>, line: usize, dot: &Value) -> Result<Flow, TemplateError> {
        let tree = self.tree;
        let Some(body) = tree.defined.get(name) else {
            return Err(TemplateError::Exec(format!(
                "template: :{line}: template {name:?} not defined"
            )));
        };
        let value = with.map_or(Ok(Value::Missing), |with| self.pipeline(with, dot))?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(TemplateError::Exec(format!(
                "template: :{line}: exceeded maximum template depth ({MAX_DEPTH})"
            )));
        }
        let names = std::mem::replace(&mut self.names, vec![(String::new(), value.clone())]);
        self.nodes(body, &value)?;
        self.names = names;
        self.depth -= 1;
        Ok(Flow::Next)
    }

    fn range(&mut self, over: &Pipeline, body: &[Node], other: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        let plain = Pipeline {
            names: Vec::new(),
            ..over.clone()
        };
        let items: Vec<(Value, Value)> = match self.pipeline(&plain, dot)? {
            Value::List(items) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| (Value::Int(at as i64), item))
                .collect(),
            Value::Map(items) => items.into_iter().map(|(key, item)| (Value::Str(key), item)).collect(),
            Value::Int(count) => (0..count).map(|at| (Value::Int(at), Value::Int(at))).collect(),
            Value::Missing | Value::Null => Vec::new(),
            other => {
                let at = &over.commands[0].operands[0];
                return Err(self.fail(at, format!("range can't iterate over {other}")));
            }
        };
        if items.is_empty() {
            return self.nodes(other, dot);
        }
        for (key, item) in items {
            let mark = self.names.len();
            match over.names.as_slice() {
                [one] => self.set(one, item.clone(), over.declares),
                [one, two] => {
                    self.set(one, key, over.declares);
                    self.set(two, item.clone(), over.declares);
                }
                _ => {}
            }
            let flow = self.nodes(body, &item)?;
            self.names.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn set(&mut self, name: &str, value: Value, declares: bool) {
        let old = self.names.iter_mut().rev().find(|(known, _)| known == name);
        match old {
            Some((_, slot)) if !declares => *slot = value,
            _ => self.names.push((name.to_owned(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last)?);
        }
        let value = last.unwrap_or(Value::Missing);
        if let [name] = pipeline.names.as_slice() {
            self.set(name, value.clone(), pipeline.declares);
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value, TemplateError> {
        let first = &command.operands[0];
        if let Base::Function(name) = &first.base {
            let value = self.function(name, first, &command.operands[1..], dot, last)?;
            return self.fields(value, first, &first.fields);
        }
        let args = command.operands[1..]
            .iter()
            .map(|operand| self.operand(operand, dot))
            .collect::<Result<Vec<_>, _>>()?;
        let args: Vec<Value> = args.into_iter().chain(last).collect();
        match self.operand_raw(first, dot)? {
            Value::Method(_) if self.header => Ok(args.into_iter().next().unwrap_or(Value::Missing)),
            Value::Method(method) => method(&args).map_err(|why| self.fail(first, why)),
            value if args.is_empty() => Ok(value),
            _ if self.header => Ok(args.into_iter().next().unwrap_or(Value::Missing)),
            _ if first.fields.is_empty() => Err(self.fail(first, "can't give argument to non-function")),
            _ => {
                let name = first.fields.last().map_or("", String::as_str);
                Err(self.fail(first, format!("{name} has arguments but cannot be invoked as function")))
            }
        }
    }

    fn function(
        &mut self,
        name: &str,
        at: &Operand,
        operands: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let mut args = Vec::new();
        for operand in operands {
            let value = self.operand(operand, dot)?;
            // `and` and `or` stop at the first that decides.
            let decided = (name == "and" && !value.truth()) || (name == "or" && value.truth());
            args.push(value);
            if decided {
                return Ok(args.pop().unwrap_or(Value::Missing));
            }
        }
        args.extend(last);
        let done = if self.header {
            funcs::call_header(name, &args)
        } else {
            funcs::call(name, &args)
        };
        let what = std::iter::once(at)
            .chain(operands)
            .map(shown)
            .collect::<Vec<_>>()
            .join(" ");
        done.map_err(|why| self.fail_in(at.at, &what, format!("error calling {name}: {why}")))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match self.operand_raw(operand, dot)? {
            Value::Method(method) => method(&[]).map_err(|why| self.fail(operand, why)),
            value => Ok(value),
        }
    }

    fn operand_raw(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let base = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let found = self.names.iter().rev().find(|(known, _)| known == name);
                found.map_or(Value::Missing, |(_, value)| value.clone())
            }
            Base::Literal(value) => value.clone(),
            Base::Group(pipeline) => self.pipeline(pipeline, dot)?,
            Base::Function(name) => self.function(name, operand, &[], dot, None)?,
        };
        self.fields(base, operand, &operand.fields)
    }

    fn fields(&self, base: Value, operand: &Operand, fields: &[String]) -> Result<Value, TemplateError> {
        let mut value = base;
        for name in fields {
            value = match &value {
                Value::Struct(it) => match it.get(name) {
                    Some(found) => found.clone(),
                    None => {
                        return Err(self.fail(operand, format!("can't evaluate field {name} in type {}", it.type_name)));
                    }
                },
                Value::Map(items) => match items.get(name) {
                    Some(found) => found.clone(),
                    None if self.header => Value::from(name.as_str()),
                    None if self.strict => return Err(self.fail(operand, format!("map has no entry for key {name:?}"))),
                    None => Value::Missing,
                },
                Value::Missing | Value::Null if self.strict => {
                    return Err(self.fail(operand, format!("nil data; no entry for key {name:?}")));
                }
                Value::Missing => {
                    return Err(self.fail(operand, format!("nil pointer evaluating interface {{}}.{name}")));
                }
                Value::Null => return Err(self.fail(operand, format!("nil pointer evaluating interface {{}}.{name}"))),
                other => {
                    let what = format!("can't evaluate field {name} in type {}", other.type_name());
                    return Err(self.fail(operand, what));
                }
            };
        }
        Ok(value)
    }

    fn fail(&self, operand: &Operand, why: impl std::fmt::Display) -> TemplateError {
        self.fail_in(operand.at, &shown(operand), why)
    }

    fn fail_in(&self, at: usize, what: &str, why: impl std::fmt::Display) -> TemplateError {
        let before = &self.source[..at.min(self.source.len())];
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        TemplateError::Exec(format!("template: :{line}:{column}: executing \"\" at <{what}>: {why}"))
    }
}

/// An operand as it was written.
fn shown(operand: &Operand) -> String {
    let base = match &operand.base {
        Base::Dot if operand.fields.is_empty() => ".".to_owned(),
        Base::Dot => String::new(),
        Base::Variable(name) => format!("${name}"),
        Base::Literal(value) => value.json(),
        Base::Function(name) => name.clone(),
        Base::Group(_) => "(...)".to_owned(),
    };
    operand
        .fields
        .iter()
        .fold(base, |text, field| format!("{text}.{field}"))
}
