//! Fields: the properties of an operation's input schema as flags, and flags as JSON again.
//!
//! A flag refuses only what cannot become the type the schema names; ranges, lengths and rules are
//! the platform's to judge, so that they are written down once.

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Map, Number, Value};

/// What a flag takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Text; the word stands in the help for what is expected.
    Text(&'static str),
    /// One of some words, each with what it means.
    Choice(Vec<(String, String)>),
    Integer,
    Number,
    Boolean,
    /// May be given more than once.
    List(Box<Kind>),
    /// Anything a flag has no better form for.
    Json,
}

/// One property of an input, or of an object in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    /// The name, after those of the objects it lies in.
    path: Vec<String>,
    pub(crate) kind: Kind,
    pub(crate) is_required: bool,
    description: String,
    default: Option<Value>,
    /// Places within it that have flags of their own.
    within: Vec<String>,
}

/// Flags that mean the same everywhere; a field of that name gets another flag.
pub(crate) const TAKEN: [&str; 12] = [
    "url",
    "token",
    "use",
    "output",
    "format",
    "no-color",
    "help",
    "json",
    "input",
    "all",
    "idempotency-key",
    "correlation-id",
];

/// How deep objects lie in each other whose fields still have flags.
const DEPTH_MAX: usize = 3;

/// The fields of `schema`, those that must be given first.
pub(crate) fn fields(schema: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    collect(&[], schema, &mut fields);
    fields.sort_by_key(|field| !field.is_required);
    fields
}

fn collect(path: &[String], schema: &Value, fields: &mut Vec<Field>) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = [path, std::slice::from_ref(name)].concat();
        let mut inner = Vec::new();
        if path.len() < DEPTH_MAX && kind(property) == Kind::Json {
            collect(&path, only_branch(property).unwrap_or(property), &mut inner);
        }
        fields.push(Field {
            kind: kind(property),
            // Part of an object that may be left out whole: the platform says what is missing.
            is_required: path.len() == 1 && required.contains(&name.as_str()),
            description: property["description"].as_str().unwrap_or_default().to_owned(),
            default: property.get("default").filter(|default| !default.is_null()).cloned(),
            within: inner.iter().map(Field::id).collect(),
            path,
        });
        fields.append(&mut inner);
    }
}

fn kind(schema: &Value) -> Kind {
    if let Some(choices) = choices(schema) {
        return Kind::Choice(choices);
    }
    if let Some(only) = only_branch(schema) {
        return kind(only);
    }
    match type_name(schema) {
        Some("string") => Kind::Text(match schema["format"].as_str() {
            Some("uuid") => "UUID",
            Some("date-time") => "TIME",
            Some("date") => "DATE",
            _ => "TEXT",
        }),
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Boolean,
        Some("array") => match kind(&schema["items"]) {
            Kind::List(_) => Kind::Json,
            item => Kind::List(Box::new(item)),
        },
        _ => Kind::Json,
    }
}

/// The one type that is not null.
fn type_name(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::String(name) => Some(name),
        Value::Array(names) => {
            let mut names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            let name = names.next()?;
            names.next().is_none().then_some(name)
        }
        _ => None,
    }
}

/// What is left of alternatives when null is taken away, if that is one.
fn only_branch(schema: &Value) -> Option<&Value> {
    let branches = ["anyOf", "oneOf", "allOf"].iter().find_map(|word| schema[*word].as_array())?;
    let mut branches = branches.iter().filter(|branch| branch["type"] != "null");
    let only = branches.next()?;
    branches.next().is_none().then_some(only)
}

/// The words of an enumeration, whichever of the two ways its schema is written.
fn choices(schema: &Value) -> Option<Vec<(String, String)>> {
    if let Some(words) = schema["enum"].as_array() {
        let words = words.iter().filter(|word| !word.is_null());
        return words.map(|word| Some((word.as_str()?.to_owned(), String::new()))).collect();
    }
    let mut choices = Vec::new();
    for branch in schema["oneOf"].as_array()?.iter().filter(|branch| branch["type"] != "null") {
        if let Some(word) = branch["const"].as_str() {
            choices.push((word.to_owned(), first_paragraph(&branch["description"])));
        } else {
            choices.extend(self::choices(branch)?);
        }
    }
    (!choices.is_empty()).then_some(choices)
}

fn first_paragraph(description: &Value) -> String {
    let text = description.as_str().unwrap_or_default();
    text.split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

impl Field {
    /// The flag, without its dashes.
    pub(crate) fn flag(&self) -> String {
        let flag = self.path.join(".").replace('_', "-");
        if TAKEN.contains(&flag.as_str()) { format!("input-{flag}") } else { flag }
    }

    /// Under a prefix, because a field may be called like a flag of ours.
    fn id(&self) -> String {
        format!("field:{}", self.path.join("."))
    }

    /// The place in the input, as a JSON Pointer.
    pub(crate) fn pointer(&self) -> String {
        format!("/{}", self.path.join("/"))
    }

    /// The flag as clap wants it. What is required may instead be part of a whole input, or be
    /// given in parts.
    pub(crate) fn arg(&self) -> Arg {
        let arg = Arg::new(self.id()).long(self.flag()).help(self.help()).help_heading("Input");
        let whole = ["json", "input"].into_iter().map(str::to_owned);
        let arg = if self.is_required {
            arg.required_unless_present_any(whole.chain(self.within.iter().cloned()))
        } else {
            arg
        };
        match &self.kind {
            Kind::List(item) => takes(arg, item).action(ArgAction::Append),
            kind => takes(arg, kind),
        }
    }

    fn help(&self) -> String {
        let mut help = self.description.trim_end_matches('.').replace("\n\n", "\n");
        if let Some(default) = &self.default {
            help = format!("{help} [default: {}]", text_of(default));
        }
        if matches!(self.kind, Kind::List(_)) {
            help.push_str(" (may be given more than once)");
        }
        help.trim_start().to_owned()
    }

    /// What was given, as JSON.
    pub(crate) fn value(&self, matches: &ArgMatches) -> Option<Value> {
        match &self.kind {
            Kind::List(item) => {
                let values = match item.as_ref() {
                    Kind::Text(_) | Kind::Choice(_) => matches
                        .get_many::<String>(&self.id())?
                        .map(|text| text.as_str().into())
                        .collect(),
                    _ => matches.get_many::<Value>(&self.id())?.cloned().collect(),
                };
                Some(Value::Array(values))
            }
            Kind::Text(_) | Kind::Choice(_) => {
                matches.get_one::<String>(&self.id()).map(|text| text.as_str().into())
            }
            _ => matches.get_one::<Value>(&self.id()).cloned(),
        }
    }

    /// A value for an example line.
    pub(crate) fn example(&self) -> String {
        example(&self.kind)
    }
}

fn example(kind: &Kind) -> String {
    match kind {
        Kind::Text("UUID") => "01890a5d-ac96-774b-bcce-b302099a8057".into(),
        Kind::Text("DATE") => "2026-09-01".into(),
        Kind::Text("TIME") => "2026-09-01T08:00:00Z".into(),
        Kind::Text(_) => "'…'".into(),
        Kind::Choice(choices) => {
            choices.first().map_or_else(|| "'…'".into(), |(word, _)| word.clone())
        }
        Kind::Integer => "3".into(),
        Kind::Number => "1.5".into(),
        Kind::Boolean => "true".into(),
        Kind::List(item) => example(item),
        Kind::Json => "'{…}'".into(),
    }
}

fn takes(arg: Arg, kind: &Kind) -> Arg {
    match kind {
        Kind::Text(word) => arg.value_name(*word).allow_hyphen_values(true),
        Kind::Choice(choices) => arg.value_name("WORD").value_parser(PossibleValuesParser::new(
            choices.iter().map(|(word, meaning)| {
                let value = PossibleValue::new(word.clone());
                if meaning.is_empty() { value } else { value.help(meaning.clone()) }
            }),
        )),
        Kind::Integer => arg.value_name("N").allow_negative_numbers(true).value_parser(integer),
        Kind::Number => arg.value_name("NUMBER").allow_negative_numbers(true).value_parser(number),
        Kind::Boolean => arg
            .value_name("true|false")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(boolean),
        Kind::List(_) | Kind::Json => {
            arg.value_name("JSON").allow_hyphen_values(true).value_parser(json)
        }
    }
}

fn integer(text: &str) -> Result<Value, &'static str> {
    let signed = text.parse::<i64>().map(Value::from);
    signed
        .or_else(|_| text.parse::<u64>().map(Value::from))
        .map_err(|_| "a whole number is expected")
}

fn number(text: &str) -> Result<Value, &'static str> {
    let finite = || text.parse().ok().and_then(Number::from_f64).map(Value::Number);
    integer(text).ok().or_else(finite).ok_or("a number is expected")
}

fn boolean(text: &str) -> Result<Value, &'static str> {
    text.parse::<bool>().map(Value::Bool).map_err(|_| "true or false is expected")
}

fn json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

/// The input that the flags make, over what was given whole.
pub(crate) fn input(
    fields: &[Field],
    mut given: Map<String, Value>,
    matches: &ArgMatches,
) -> Map<String, Value> {
    for field in fields {
        if let Some(value) = field.value(matches) {
            put(&mut given, &field.path, value);
        }
    }
    given
}

/// Puts `value` where `path` leads; what lies in the way and is no object gives way.
fn put(object: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => drop(object.insert(name.clone(), value)),
        [name, rest @ ..] => {
            let inner = object.entry(name.as_str()).or_insert_with(|| Map::new().into());
            if !inner.is_object() {
                *inner = Map::new().into();
            }
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

/// Text as it is, everything else as JSON.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use clap::Command;
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "required": ["title", "headcount"], "properties": {
            "title": {"type": "string", "description": "Title shown to candidates."},
            "headcount": {"type": "integer", "minimum": 1},
            "rate": {"type": "number"},
            "is_urgent": {"type": "boolean", "default": false},
            "client_id": {"type": ["string", "null"], "format": "uuid", "default": null},
            "shift": {"anyOf": [
                {"oneOf": [
                    {"type": "string", "const": "day", "description": "From six to six."},
                    {"type": "string", "enum": ["night", "both"]},
                ]},
                {"type": "null"},
            ]},
            "skills": {"type": "array", "items": {"type": "string"}, "default": []},
            "years": {"type": ["array", "null"], "items": {"type": "integer"}},
            "site": {"type": "object"},
            "contact": {"type": "object", "required": ["email"], "properties": {
                "email": {"type": "string"},
                "phone": {"type": ["object", "null"], "properties": {
                    "number": {"type": "integer"},
                }},
            }},
            "token": {"type": "string"},
        }})
    }

    fn parse(args: &[&str]) -> Result<Value, clap::Error> {
        let fields = fields(&schema());
        let whole = ["json", "input"].map(|name| Arg::new(name).long(name));
        let command = Command::new("x").no_binary_name(true).args(whole);
        let matches = command.args(fields.iter().map(Field::arg)).try_get_matches_from(args)?;
        Ok(input(&fields, Map::new(), &matches).into())
    }

    #[test]
    fn flags_become_the_types_the_schema_names() {
        let cases: [(&[&str], Value); 15] = [
            (&[], json!({})),
            (&["--title=0042"], json!({"title": "0042"})),
            (&["--title", "-x y"], json!({"title": "-x y"})),
            (&["--headcount", "-3"], json!({"headcount": -3})),
            (&["--headcount", "18446744073709551615"], json!({"headcount": u64::MAX})),
            (&["--rate", "1.5"], json!({"rate": 1.5})),
            (&["--is-urgent"], json!({"is_urgent": true})),
            (&["--is-urgent=false"], json!({"is_urgent": false})),
            (&["--shift", "night"], json!({"shift": "night"})),
            (&["--skills", "a,b", "--skills", "c"], json!({"skills": ["a,b", "c"]})),
            (&["--years", "1", "--years", "2"], json!({"years": [1, 2]})),
            (&["--site", r#"{"a":[1]}"#], json!({"site": {"a": [1]}})),
            (&["--contact.email", "a@b"], json!({"contact": {"email": "a@b"}})),
            (&["--contact.phone.number", "7"], json!({"contact": {"phone": {"number": 7}}})),
            (
                &["--contact.email=new", r#"--contact={"email": "old", "x": 1}"#],
                json!({"contact": {"email": "new", "x": 1}}),
            ),
        ];

        for (args, expected) in cases {
            let args = [&["--json", "{}"], args].concat();
            assert_eq!(parse(&args).expect("fits"), expected, "{args:?}");
        }
    }

    #[test]
    fn what_cannot_become_the_type_is_refused_before_it_is_sent() {
        let cases = [
            ["--headcount", "many"],
            ["--rate", "NaN"],
            ["--is-urgent=maybe", "--json={}"],
            ["--shift", "evening"],
            ["--site", "{"],
            ["--years", "1.5"],
        ];

        for args in cases {
            let args = [&["--json", "{}"], &args[..]].concat();
            assert!(parse(&args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn what_is_required_must_be_given_unless_there_is_json() {
        let missing = parse(&["--title", "x"]).expect_err("headcount is missing").to_string();

        assert!(missing.contains("--headcount"), "{missing}");
        assert!(parse(&["--json", "{}"]).is_ok());
    }

    #[test]
    fn required_fields_come_first() {
        let fields = fields(&schema());
        let first: Vec<_> = fields.iter().take(2).map(|field| field.path[0].as_str()).collect();

        assert_eq!(first, ["headcount", "title"]);
    }

    #[test]
    fn a_field_called_like_a_flag_of_ours_gets_another_flag() {
        assert_eq!(
            parse(&["--json={}", "--input-token", "x"]).expect("fits"),
            json!({"token": "x"})
        );
    }

    #[test]
    fn alternatives_that_are_no_enumeration_are_json() {
        let cases = [
            json!({"oneOf": [{"type": "object"}, {"type": "string", "const": "x"}]}),
            json!({"type": ["string", "integer"]}),
            json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}),
            json!(true),
        ];

        for schema in cases {
            assert_eq!(kind(&schema), Kind::Json, "{schema}");
        }
    }
}
