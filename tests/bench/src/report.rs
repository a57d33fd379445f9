//! Medians and ratios as a table.

#[derive(Debug, Clone, Copy)]
pub enum Unit {
    Millis,
    PerSecond,
    Mebibytes,
    Gigabits,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Millis => "ms",
            Self::PerSecond => "/s",
            Self::Mebibytes => "MiB",
            Self::Gigabits => "Gb/s",
        }
    }

    /// How many times better the first is.
    fn better(self, first: f64, other: f64) -> f64 {
        match self {
            Self::Millis | Self::Mebibytes => other / first,
            Self::PerSecond | Self::Gigabits => first / other,
        }
    }
}

struct Row {
    what: String,
    unit: Unit,
    medians: Vec<f64>,
}

impl Row {
    fn better(&self) -> Option<f64> {
        match self.medians[..] {
            [first, other, ..] => Some(self.unit.better(first, other)),
            _ => None,
        }
    }
}

pub struct Report {
    engines: Vec<&'static str>,
    rows: Vec<Row>,
}

impl Report {
    pub fn new(engines: Vec<&'static str>) -> Self {
        Self {
            engines,
            rows: Vec::new(),
        }
    }

    /// A row, from the samples of each engine in the order they were named. Answers how many times better the first is than
    /// the second.
    pub fn add(&mut self, what: &str, unit: Unit, samples: &[Vec<f64>]) -> Option<f64> {
        let medians = samples.iter().map(|one| median(one)).collect();
        let row = Row {
            what: what.to_owned(),
            unit,
            medians,
        };
        eprintln!("{}", self.line(&row));
        let better = row.better();
        self.rows.push(row);
        better
    }

    fn line(&self, row: &Row) -> String {
        let cell = |value: &f64| format!("{:>12}", format!("{value:.2} {}", row.unit.name()));
        let cells: String = row.medians.iter().map(cell).collect();
        let ratio = row
            .better()
            .map_or_else(String::new, |better| format!("{better:>9.1}x"));
        format!("{:<42}{cells}{ratio}", row.what)
    }

    pub fn print(&self) {
        let names: String = self.engines.iter().map(|name| format!("{name:>12}")).collect();
        let ratio = if self.engines.len() > 1 {
            format!("{:>10}", "better")
        } else {
            String::new()
        };
        println!("\n{:<42}{names}{ratio}", "medians");
        for row in &self.rows {
            println!("{}", self.line(row));
        }
    }
}

pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(Unit::Millis.better(10.0, 100.0), 10.0);
        assert_eq!(Unit::PerSecond.better(80.0, 16.0), 5.0);
        let mut report = Report::new(vec!["a", "b"]);
        report.add("x", Unit::Millis, &[vec![10.0], vec![100.0]]);
        assert!(report.line(&report.rows[0]).ends_with("10.0x"));
    }
}
