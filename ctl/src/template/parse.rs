//! Builds the tree of a template.

use std::collections::HashMap;

use super::TemplateError;
use super::funcs;
use super::lex::{self, Piece, Spanned, Token};
use super::value::Value;

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    Action(Pipeline),
    If {
        test: Pipeline,
        then: Vec<Node>,
        other: Vec<Node>,
    },
    With {
        test: Pipeline,
        then: Vec<Node>,
        other: Vec<Node>,
    },
    Range {
        over: Pipeline,
        body: Vec<Node>,
        other: Vec<Node>,
    },
    Call {
        name: String,
        with: Option<Pipeline>,
        line: usize,
    },
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    /// Names it sets; two only in `range $i, $e :=`.
    pub(crate) names: Vec<String>,
    /// `:=` makes new names, `=` sets old ones.
    pub(crate) declares: bool,
    pub(crate) commands: Vec<Command>,
}

#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub(crate) base: Base,
    /// Fields looked up in turn, with where each stands.
    pub(crate) fields: Vec<String>,
    pub(crate) at: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Base {
    Dot,
    Variable(String),
    Literal(Value),
    Function(String),
    Group(Box<Pipeline>),
}

/// A parsed template and the templates it defines.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) root: Vec<Node>,
    pub(crate) defined: HashMap<String, Vec<Node>>,
}

/// What ended a list of nodes.
#[derive(PartialEq)]
enum End {
    Source,
    Closed,
    Else(Vec<Spanned>, usize),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    defined: HashMap<String, Vec<Node>>,
    /// Names in sight.
    names: Vec<String>,
    loops: usize,
}

pub(crate) fn parse(source: &str) -> Result<Tree, TemplateError> {
    let pieces = lex::pieces(source)?.into_iter();
    let mut parser = Parser {
        pieces,
        defined: HashMap::new(),
        names: vec![String::new()],
        loops: 0,
    };
    let (root, end) = parser.nodes()?;
    match end {
        End::Source => Ok(Tree {
            root,
            defined: parser.defined,
        }),
        End::Closed => Err(TemplateError::parse(1, "unexpected {{end}}")),
        End::Else(..) => Err(TemplateError::parse(1, "unexpected {{else}}")),
    }
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut out = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (line, tokens) = match piece {
                Piece::Text(text) => {
                    out.push(Node::Text(text));
                    continue;
                }
                Piece::Action { line, tokens } => (line, tokens),
            };
            let keyword = match tokens.first().map(|it| &it.token) {
                Some(Token::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let rest = tokens.get(1..).unwrap_or_default().to_vec();
            match keyword.as_str() {
                "end" => return Ok((out, End::Closed)),
                "else" => return Ok((out, End::Else(rest, line))),
                "if" | "with" | "range" => out.push(self.branch(&keyword, &rest, line)?),
                "define" => self.define(&rest, line)?,
                "block" => out.push(self.block(&rest, line)?),
                "template" => {
                    let (name, with) = self.named(&rest, line)?;
                    out.push(Node::Call { name, with, line });
                }
                "break" | "continue" if self.loops == 0 => {
                    return Err(TemplateError::parse(
                        line,
                        format!("{{{{{keyword}}}}} outside {{{{range}}}}"),
                    ));
                }
                "break" => out.push(Node::Break),
                "continue" => out.push(Node::Continue),
                _ => out.push(Node::Action(self.pipeline(&tokens, line, "command", false)?)),
            }
        }
        Ok((out, End::Source))
    }

    fn branch(&mut self, keyword: &str, tokens: &[Spanned], line: usize) -> Result<Node, TemplateError> {
        let mark = self.names.len();
        let test = self.pipeline(tokens, line, keyword, keyword == "range")?;
        self.loops += usize::from(keyword == "range");
        let body = self.nodes();
        self.loops -= usize::from(keyword == "range");
        let (then, end) = body?;
        let other = match end {
            End::Source => return Err(TemplateError::parse(line, "unexpected EOF")),
            End::Closed => Vec::new(),
            End::Else(rest, line) => self.otherwise(keyword, &rest, line)?,
        };
        self.names.truncate(mark);
        Ok(match keyword {
            "if" => Node::If { test, then, other },
            "with" => Node::With { test, then, other },
            _ => Node::Range {
                over: test,
                body: then,
                other,
            },
        })
    }

    /// What follows an else: `else if` and `else with` share the outer end.
    fn otherwise(&mut self, keyword: &str, rest: &[Spanned], line: usize) -> Result<Vec<Node>, TemplateError> {
        if let Some(Token::Word(word)) = rest.first().map(|it| &it.token)
            && word == keyword
            && keyword != "range"
        {
            return Ok(vec![self.branch(keyword, &rest[1..], line)?]);
        }
        if !rest.is_empty() {
            return Err(TemplateError::parse(line, "unexpected token in else"));
        }
        match self.nodes()? {
            (other, End::Closed) => Ok(other),
            (_, End::Else(_, line)) => Err(TemplateError::parse(line, "expected end; found {{else}}")),
            (_, End::Source) => Err(TemplateError::parse(line, "unexpected EOF")),
        }
    }

    fn define(&mut self, tokens: &[Spanned], line: usize) -> Result<(), TemplateError> {
        let (name, _) = self.named(tokens, line)?;
        self.body_of(name, line)
    }

    fn body_of(&mut self, name: String, line: usize) -> Result<(), TemplateError> {
        let names = std::mem::replace(&mut self.names, vec![String::new()]);
        let (body, end) = self.nodes()?;
        self.names = names;
        if end != End::Closed {
            return Err(TemplateError::parse(line, "unexpected EOF"));
        }
        self.defined.insert(name, body);
        Ok(())
    }

    fn block(&mut self, tokens: &[Spanned], line: usize) -> Result<Node, TemplateError> {
        let (name, with) = self.named(tokens, line)?;
        self.body_of(name.clone(), line)?;
        Ok(Node::Call { name, with, line })
    }

    fn named(&mut self, tokens: &[Spanned], line: usize) -> Result<(String, Option<Pipeline>), TemplateError> {
        let Some(Token::Str(name)) = tokens.first().map(|it| &it.token) else {
            return Err(TemplateError::parse(line, "a template's name must be a string"));
        };
        let with = (tokens.len() > 1)
            .then(|| self.pipeline(&tokens[1..], line, "template clause", false))
            .transpose()?;
        Ok((name.clone(), with))
    }

    fn pipeline(&mut self, tokens: &[Spanned], line: usize, what: &str, two: bool) -> Result<Pipeline, TemplateError> {
        let (names, declares, used) = assigned(tokens, two);
        let mut at = used;
        let commands = self.commands(tokens, &mut at, line)?;
        if at < tokens.len() {
            return Err(TemplateError::parse(line, "unexpected right paren"));
        }
        if commands.is_empty() {
            return Err(TemplateError::parse(line, format!("missing value for {what}")));
        }
        if declares {
            self.names.extend(names.iter().cloned());
        } else if let Some(name) = names.iter().find(|name| !self.names.contains(name)) {
            return Err(TemplateError::parse(line, format!("undefined variable \"${name}\"")));
        }
        Ok(Pipeline {
            names,
            declares,
            commands,
        })
    }

    /// Commands up to the end or a closing paren.
    fn commands(&mut self, tokens: &[Spanned], at: &mut usize, line: usize) -> Result<Vec<Command>, TemplateError> {
        let mut commands = Vec::new();
        let mut operands: Vec<Operand> = Vec::new();
        while let Some(next) = tokens.get(*at) {
            match &next.token {
                Token::Close => break,
                Token::Pipe => {
                    if operands.is_empty() {
                        return Err(TemplateError::parse(line, "missing value for command"));
                    }
                    commands.push(Command {
                        operands: std::mem::take(&mut operands),
                    });
                    *at += 1;
                }
                _ => operands.push(self.operand(tokens, at, line)?),
            }
        }
        if !operands.is_empty() {
            commands.push(Command { operands });
        } else if !commands.is_empty() {
            return Err(TemplateError::parse(line, "missing value for command"));
        }
        for command in commands.iter().skip(1) {
            if matches!(command.operands[0].base, Base::Literal(_)) {
                return Err(TemplateError::parse(line, "non executable command in pipeline stage 2"));
            }
        }
        Ok(commands)
    }

    fn operand(&mut self, tokens: &[Spanned], at: &mut usize, line: usize) -> Result<Operand, TemplateError> {
        let start = &tokens[*at];
        *at += 1;
        let mut fields = Vec::new();
        let base = match &start.token {
            Token::Dot => Base::Dot,
            Token::Field(name) => {
                fields.push(name.clone());
                Base::Dot
            }
            Token::Variable(name) if self.names.contains(name) => Base::Variable(name.clone()),
            Token::Variable(name) => {
                return Err(TemplateError::parse(line, format!("undefined variable \"${name}\"")));
            }
            Token::Word(word) => self.word(word, line)?,
            Token::Str(text) => Base::Literal(Value::from(text)),
            Token::Int(number) => Base::Literal(Value::Int(*number)),
            Token::Float(number) => Base::Literal(Value::Float(*number)),
            Token::Open => {
                let commands = self.commands(tokens, at, line)?;
                if tokens.get(*at).map(|it| &it.token) != Some(&Token::Close) {
                    return Err(TemplateError::parse(line, "unclosed left paren"));
                }
                *at += 1;
                if commands.is_empty() {
                    return Err(TemplateError::parse(line, "missing value for parenthesized pipeline"));
                }
                Base::Group(Box::new(Pipeline {
                    names: Vec::new(),
                    declares: false,
                    commands,
                }))
            }
            other => return Err(TemplateError::parse(line, format!("unexpected {other:?} in operand"))),
        };
        while let Some(Spanned {
            token: Token::Field(name),
            spaced: false,
            ..
        }) = tokens.get(*at)
        {
            fields.push(name.clone());
            *at += 1;
        }
        Ok(Operand {
            base,
            fields,
            at: start.at,
        })
    }

    fn word(&self, word: &str, line: usize) -> Result<Base, TemplateError> {
        Ok(match word {
            "true" => Base::Literal(Value::Bool(true)),
            "false" => Base::Literal(Value::Bool(false)),
            "nil" => Base::Literal(Value::Null),
            _ if funcs::exists(word) => Base::Function(word.to_owned()),
            _ => return Err(TemplateError::parse(line, format!("function {word:?} not defined"))),
        })
    }
}

/// The names a pipeline sets, whether it declares them, and how many tokens say so.
fn assigned(tokens: &[Spanned], two: bool) -> (Vec<String>, bool, usize) {
    let token = |at: usize| tokens.get(at).map(|it| &it.token);
    let Some(Token::Variable(first)) = token(0) else {
        return (Vec::new(), false, 0);
    };
    match (token(1), token(2), token(3)) {
        (Some(Token::Declare), _, _) => (vec![first.clone()], true, 2),
        (Some(Token::Assign), _, _) => (vec![first.clone()], false, 2),
        (Some(Token::Comma), Some(Token::Variable(second)), Some(sign @ (Token::Declare | Token::Assign))) if two => {
            (vec![first.clone(), second.clone()], *sign == Token::Declare, 4)
        }
        _ => (Vec::new(), false, 0),
    }
}
