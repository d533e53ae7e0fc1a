//! Printing: any JSON answer as something a person reads. A list becomes a table, an object lines.

use serde_json::{Map, Value};

use crate::words::{clipped, harmless, padded, width};

/// Blanks between two columns.
const GAP: usize = 2;
/// A column that may be narrowed keeps this much.
const COLUMN_MIN: usize = 12;

/// The answer in lines of at most `columns` columns, if that is possible without hiding an id.
pub(crate) fn answer(value: &Value, columns: Option<usize>) -> Vec<String> {
    match value {
        Value::Null => vec!["done".into()],
        Value::Object(fields) => match fields.get("items") {
            Some(Value::Array(items)) => listing(items, fields, columns),
            _ => record(fields, 0),
        },
        Value::Array(items) => list(items, columns),
        other => vec![cell(other)],
    }
}

/// A page of a list, then whatever else the answer holds.
fn listing(items: &[Value], fields: &Map<String, Value>, columns: Option<usize>) -> Vec<String> {
    let mut lines = list(items, columns);
    let rest = fields.iter().filter(|(name, value)| *name != "items" && !value.is_null());
    let mut notes: Vec<String> = rest
        .map(|(name, value)| match name.as_str() {
            "next" => format!("there is more: add --cursor {}", cell(value)),
            name => format!("{}: {}", harmless(name), cell(value)),
        })
        .collect();
    if !notes.is_empty() {
        lines.push(String::new());
        lines.append(&mut notes);
    }
    lines
}

fn list(items: &[Value], columns: Option<usize>) -> Vec<String> {
    let rows: Option<Vec<&Map<String, Value>>> = items.iter().map(Value::as_object).collect();
    match rows {
        _ if items.is_empty() => vec!["nothing".into()],
        None => items.iter().map(cell).collect(),
        Some(rows) => table(&rows, columns).unwrap_or_else(|| records(&rows)),
    }
}

/// A column of a table.
struct Column {
    name: String,
    cells: Vec<String>,
    is_number: bool,
    width: usize,
}

impl Column {
    fn new(name: &str, rows: &[&Map<String, Value>]) -> Self {
        let values = rows.iter().map(|row| row.get(name).unwrap_or(&Value::Null));
        let is_number = values.clone().all(|value| value.is_number() || value.is_null());
        let cells: Vec<String> = values.map(cell).collect();
        let name = harmless(name);
        let width =
            cells.iter().map(|cell| width(cell)).chain([width(&name)]).max().unwrap_or_default();
        Self { name, cells, is_number, width }
    }

    /// An id or a number that is cut says nothing, or worse, something else.
    fn can_shrink(&self) -> bool {
        let is_id = self.name == "id" || self.name.ends_with("_id");
        !is_id && !self.is_number && self.width > COLUMN_MIN
    }

    fn fill(&self, text: &str) -> String {
        let text = clipped(text, self.width);
        if self.is_number {
            format!("{}{text}", " ".repeat(self.width.saturating_sub(width(&text))))
        } else {
            padded(&text, self.width)
        }
    }
}

/// None when the columns cannot be made to fit.
fn table(rows: &[&Map<String, Value>], columns: Option<usize>) -> Option<Vec<String>> {
    let mut table: Vec<Column> = names(rows).iter().map(|name| Column::new(name, rows)).collect();
    if let Some(columns) = columns {
        shrink(&mut table, columns)?;
    }
    let mut lines = vec![line(table.iter().map(|column| column.fill(&column.name)))];
    for row in 0..rows.len() {
        lines.push(line(table.iter().map(|column| column.fill(&column.cells[row]))));
    }
    Some(lines)
}

/// Narrows the widest column that may be, until all fit.
fn shrink(table: &mut [Column], columns: usize) -> Option<()> {
    loop {
        let gaps = GAP * table.len().saturating_sub(1);
        let total = table.iter().map(|column| column.width).sum::<usize>() + gaps;
        let excess = total.saturating_sub(columns);
        if excess == 0 {
            return Some(());
        }
        let widest = table
            .iter_mut()
            .filter(|column| column.can_shrink())
            .max_by_key(|column| column.width)?;
        widest.width = (widest.width - 1).max(COLUMN_MIN);
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// The names of all columns: what identifies a row first, ids of other things and times last.
fn names(rows: &[&Map<String, Value>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.sort_by_key(|name| match name.as_str() {
        "position" | "sequence" | "org_sequence" => 0,
        "id" => 1,
        "name" | "title" | "queue" => 2,
        "state" | "status" => 3,
        name if name.ends_with("_id") => 5,
        name if name.ends_with("_at") => 6,
        _ => 4,
    });
    names
}

/// One below the other, where side by side does not fit.
fn records(rows: &[&Map<String, Value>]) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.append(&mut record(row, 0));
    }
    lines
}

fn record(fields: &Map<String, Value>, indent: usize) -> Vec<String> {
    let names = names(&[fields]);
    let column = names.iter().map(|name| width(name)).max().unwrap_or_default() + 1;
    let margin = " ".repeat(indent);
    let mut lines = Vec::new();
    for name in &names {
        let label = format!("{}:", harmless(name));
        match &fields[name] {
            Value::Object(inner) if !inner.is_empty() => {
                lines.push(format!("{margin}{label}"));
                lines.append(&mut record(inner, indent + 2));
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                lines.push(format!("{margin}{label}"));
                for item in items {
                    lines.append(&mut bullet(item, indent + 2));
                }
            }
            value => lines.push(format!("{margin}{} {}", padded(&label, column), cell(value))),
        }
    }
    lines
}

fn bullet(item: &Value, indent: usize) -> Vec<String> {
    let margin = " ".repeat(indent);
    let Some(fields) = item.as_object() else { return vec![format!("{margin}- {}", cell(item))] };
    let mut lines = record(fields, indent + 2);
    if let Some(first) = lines.first_mut() {
        first.replace_range(indent..=indent, "-");
    }
    lines
}

/// A value on one line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => harmless(text),
        Value::Array(items) if items.is_empty() => "–".into(),
        Value::Array(items) if items.iter().all(is_scalar) => {
            items.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        Value::Object(fields) if fields.is_empty() => "–".into(),
        Value::Object(fields) if fields.values().all(is_scalar) => {
            let pairs =
                fields.iter().map(|(name, value)| format!("{} {}", harmless(name), cell(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        other => harmless(&other.to_string()),
    }
}

fn is_scalar(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: &Value, columns: Option<usize>) -> String {
        answer(value, columns).join("\n")
    }

    fn orders() -> Value {
        json!({"items": [
            {"id": "01890a5d", "title": "Forklift driver for the night shift", "headcount": 3,
                "opened_at": "2026-08-01"},
            {"id": "01890a5e", "title": "Picker", "headcount": 12, "skills": ["lift", "count"]},
        ], "next": "bmV4dA"})
    }

    #[test]
    fn a_list_is_a_table_with_what_identifies_a_row_first() {
        insta::assert_snapshot!(text(&orders(), None), @"
        id        title                                headcount  skills       opened_at
        01890a5d  Forklift driver for the night shift          3  –            2026-08-01
        01890a5e  Picker                                      12  lift, count  –

        there is more: add --cursor bmV4dA
        ");
    }

    #[test]
    fn a_narrow_terminal_cuts_the_longest_text_and_no_id() {
        insta::assert_snapshot!(text(&orders(), Some(64)), @"
        id        title               headcount  skills       opened_at
        01890a5d  Forklift driver f…          3  –            2026-08-01
        01890a5e  Picker                     12  lift, count  –

        there is more: add --cursor bmV4dA
        ");
        assert!(answer(&orders(), Some(64)).iter().all(|line| width(line) <= 64));
    }

    #[test]
    fn what_does_not_fit_side_by_side_goes_one_below_the_other() {
        insta::assert_snapshot!(text(&orders(), Some(30)), @"
        id:        01890a5d
        title:     Forklift driver for the night shift
        headcount: 3
        opened_at: 2026-08-01

        id:        01890a5e
        title:     Picker
        headcount: 12
        skills:    lift, count

        there is more: add --cursor bmV4dA
        ");
    }

    #[test]
    fn an_object_is_one_line_a_field() {
        let value = json!({"id": "7", "title": "x\u{1b}[2J", "none": null,
            "site": {"city": "Perth", "bays": [1, 2]},
            "checks": [{"kind": "visa", "held": true}, {"kind": "licence"}]});

        insta::assert_snapshot!(text(&value, None), @"
        id:     7
        title:  x [2J
        checks:
          - held: true
            kind: visa
          - kind: licence
        none:   –
        site:
          bays: 1, 2
          city: Perth
        ");
    }

    #[test]
    fn whatever_is_answered_prints() {
        let cases = [
            (json!(null), "done"),
            (json!({"items": []}), "nothing"),
            (json!({"items": [], "head": 7}), "nothing\n\nhead: 7"),
            (json!(["a", 1]), "a\n1"),
            (json!([[1, [2]]]), "[1,[2]]"),
            (json!("x"), "x"),
            (json!({}), ""),
            (
                json!({"items": [{"queue": "recruit", "counts": {"available": 3}}]}),
                "queue    counts\nrecruit  available 3",
            ),
        ];

        for (value, expected) in cases {
            assert_eq!(text(&value, Some(80)), expected, "{value}");
        }
    }
}
