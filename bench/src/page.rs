//! Results as one page of HTML: plots, the tables behind them, and the conditions that they were measured under. It needs
//! no network and no program but a browser, follows its light or dark, and says every plot in words and in a table.
//!
//! | module | holds |
//! |---|---|
//! | `figures` | which plots the rows of a report make |
//! | `scale` | axes and the numbers on them |
//! | `plot` | the SVG of a plot |

mod figures;
mod plot;
mod scale;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::figures::{Bars, Curves, Drawing, Figure, Group, Spreads};
use self::scale::short;
use crate::conditions::{Build, Conditions};
use crate::report::{Counts, Report, Row, number};
use crate::results::Results;

/// Nothing is fetched from anywhere, whatever a file of results says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Results, and where they come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name of the file, for people.
    pub name: String,
    /// What it holds.
    pub results: Results,
}

/// The page of these results, in their order.
pub fn page(sources: &[Source]) -> String {
    let several = sources.len() > 1;
    let reports: Vec<(&str, &Report)> = sources
        .iter()
        .flat_map(|source| {
            source
                .results
                .reports
                .iter()
                .map(|report| (source.name.as_str(), report))
        })
        .collect();
    let debug = reports
        .iter()
        .any(|(_, report)| report.conditions.build == Build::Debug);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { "Queenright: results" }
                style { (PreEscaped(include_str!("page/style.css"))) }
            }
            body {
                a.skip href="#results" { "To the results" }
                header {
                    h1 { "Queenright: results" }
                    p.soft {
                        (reports.len()) " reports of "
                        (sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", "))
                        ". Each stands with the conditions that it was measured under; figures of others are marked as claims."
                    }
                    @if debug {
                        p.warn { "Some of these were made by a debug build: their timings say nothing about the product." }
                    }
                }
                nav aria-label="Reports" {
                    ul {
                        @for (place, (name, report)) in reports.iter().enumerate() {
                            li {
                                a href={ "#r" (place) } { (report.workload) " " (report.title) }
                                @if several { span.soft { " " (name) } }
                            }
                        }
                    }
                }
                main #results {
                    @for (place, (name, report)) in reports.iter().enumerate() {
                        (article(place, several.then_some(*name), report))
                    }
                }
            }
        }
    };
    page.into_string()
}

fn article(place: usize, source: Option<&str>, report: &Report) -> Markup {
    let id = format!("r{place}");
    html! {
        article id=(id) aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (report.workload) ": " (report.title) }
            p.soft {
                (date(report.started_at_ms)) ", " (report.conditions.build.to_string()) " build, "
                (report.conditions.machine.cores) " cores"
                @if let Some(source) = source { ", " (source) }
            }
            @let groups = figures::figures(report);
            // Those that stand alone fill the rows together.
            @for together in groups.chunk_by(|one, next| one.is_alone() && next.is_alone()) { (figures_of(together)) }
            h3 { "All rows" }
            (rows(&id, &report.rows))
            @if !report.claims.is_empty() {
                h3 { "What others say of the same work, not measured here" }
                ul {
                    @for claim in &report.claims { li { (claim.system) ": " (claim.statement) } }
                }
            }
            (conditions(&report.conditions, &report.config))
        }
    }
}

/// Groups of one figure each, or one group of several.
fn figures_of(groups: &[Group]) -> Markup {
    html! {
        @for group in groups.iter().filter(|group| !group.is_alone()) { h3 { (group.title) } }
        div.figures {
            @for group in groups {
                @for figure in &group.figures { (one_figure(group, figure)) }
            }
        }
    }
}

fn one_figure(group: &Group, figure: &Figure) -> Markup {
    let title = match figure.title.as_str() {
        "" => group.title.clone(),
        title if group.is_alone() => format!("{}, {title}", group.title),
        title => title.to_owned(),
    };
    html! {
        figure {
            figcaption { (title) }
            (PreEscaped(plot::svg(&figure.drawing, &words(&group.title, figure))))
            @match &figure.drawing {
                Drawing::Curves(curves) => (beside_curves(curves)),
                Drawing::Spreads(_) => (legend(plot::QUANTILES.into_iter())),
                Drawing::Bars(_) => {},
            }
        }
    }
}

/// What a plot shows, for those who do not see it.
fn words(title: &str, figure: &Figure) -> String {
    let title = match figure.title.as_str() {
        "" => title.to_owned(),
        own => format!("{title}, {own}"),
    };
    match &figure.drawing {
        Drawing::Curves(Curves {
            lines, parameter, unit, ..
        }) => {
            let lines = lines.iter().map(|line| {
                let (first, last) = (line.points[0], line.points[line.points.len() - 1]);
                let name = if line.label.is_empty() {
                    "the value"
                } else {
                    &line.label
                };
                format!(
                    "{name} goes from {} {unit} at {} {parameter} to {} {unit} at {}",
                    short(first.y),
                    short(first.x),
                    short(last.y),
                    short(last.x)
                )
            });
            format!(
                "{title}: {}. The table below has all points.",
                lines.collect::<Vec<_>>().join("; ")
            )
        }
        Drawing::Bars(Bars { bars, unit, .. }) => {
            let bars = bars
                .iter()
                .map(|(name, value)| format!("{name} {} {unit}", short(*value)));
            format!("{title}: {}.", bars.collect::<Vec<_>>().join(", "))
        }
        Drawing::Spreads(Spreads { rows, unit, .. }) => {
            let rows = rows.iter().map(|(name, spread)| {
                format!(
                    "{name}: median {} {unit}, 99 % at most {} {unit}",
                    short(spread.p50),
                    short(spread.p99)
                )
            });
            format!(
                "{title}. {}. The table of all rows has all of it.",
                rows.collect::<Vec<_>>().join("; ")
            )
        }
    }
}

/// The marks of lines and what they stand for.
fn legend<'t>(names: impl Iterator<Item = &'t str>) -> Markup {
    html! {
        ul.legend {
            @for (number, name) in names.enumerate() {
                li {
                    span class={ "c" (number % plot::COLOURS) } aria-hidden="true" { (plot::MARKS[number % plot::MARKS.len()]) }
                    " " (name)
                }
            }
        }
    }
}

/// What stands for which line, how to read the axes, and the points as a table.
fn beside_curves(curves: &Curves) -> Markup {
    let Curves {
        parameter,
        unit,
        x,
        y,
        lines,
    } = curves;
    let mut values: Vec<f64> = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point.x))
        .collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let has_p99 = lines
        .iter()
        .flat_map(|line| &line.points)
        .any(|point| point.p99.is_some());
    let logs = match (x.is_log, y.is_log) {
        (true, true) => "Both axes go by the logarithm. ",
        (true, false) => "The lower axis goes by the logarithm. ",
        (false, true) => "The upright axis goes by the logarithm. ",
        (false, false) => "",
    };
    html! {
        @if lines.len() > 1 { (legend(lines.iter().map(|line| line.label.as_str()))) }
        @if has_p99 || !logs.is_empty() {
            p.soft { (logs) @if has_p99 { "The thin line goes up to p99." } }
        }
        details {
            summary { "Points" }
            div.scroll {
                table {
                    thead {
                        tr {
                            th scope="col" { (parameter) }
                            @for line in lines {
                                th.n scope="col" { @if line.label.is_empty() { (unit) } @else { (line.label) ", " (unit) } }
                            }
                        }
                    }
                    tbody {
                        @for value in &values {
                            tr {
                                td { (number(*value)) }
                                @for line in lines {
                                    td.n {
                                        @for point in line.points.iter().filter(|point| point.x == *value) { (number(point.y)) " " }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The rows as a table that can be scrolled by keyboard.
fn rows(id: &str, rows: &[Row]) -> Markup {
    // Columns that hold nothing are left out.
    let spread = rows.iter().any(|row| row.percentiles.is_some());
    let heads = ["value", "unit", "samples"].into_iter();
    let heads = heads.chain(plot::QUANTILES.into_iter().filter(|_| spread));
    html! {
        div.scroll role="region" tabindex="0" aria-labelledby={ (id) "-rows" } {
            table {
                caption id={ (id) "-rows" } { "Of several samples the median, unless the name says otherwise." }
                thead {
                    tr {
                        th scope="col" { "what" }
                        @for head in heads {
                            th scope="col" class=[(head != "unit").then_some("n")] { (head) }
                        }
                    }
                }
                tbody {
                    @for row in rows { (one_row(row, spread)) }
                }
            }
        }
    }
}

fn one_row(row: &Row, spread: bool) -> Markup {
    html! {
        tr {
            th scope="row" {
                (row.name)
                @if let Some(Counts { sent, delivered, refused, lost }) = row.counts {
                    div.soft { "sent " (sent) " = delivered " (delivered) " + refused " (refused) " + lost " (lost) }
                }
                @if let Some(note) = &row.note { div.soft { (note) } }
            }
            td.n { (number(row.value)) }
            td { (row.unit) }
            td.n { (row.samples) }
            @match &row.percentiles {
                Some(spread) => { @for quantile in plot::quantiles(spread) { td.n { (number(quantile)) } } },
                None => { @for _ in plot::QUANTILES.iter().filter(|_| spread) { td.n {} } },
            }
        }
    }
}

fn conditions(conditions: &Conditions, config: &serde_json::Value) -> Markup {
    let machine = &conditions.machine;
    let told = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let memory = machine
        .memory_bytes
        .map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)));
    let all = [
        ("commit", conditions.commit.clone()),
        ("version", conditions.version.clone()),
        ("build", conditions.build.to_string()),
        ("command", conditions.command.join(" ")),
        (
            "processor",
            format!("{} cores of {}", machine.cores, told(&machine.cpu)),
        ),
        ("memory", told(&memory)),
        ("system", format!("{} ({})", told(&machine.kernel), machine.os)),
        ("load before", told(&machine.load_1m.map(|load| format!("{load:.2}")))),
        ("file system", conditions.file_system.name.clone()),
        ("durability", conditions.durability.to_string()),
    ];
    html! {
        details {
            summary { "Conditions and configuration" }
            dl {
                @for (name, value) in &all { dt { (name) } dd { (value) } }
                @if let Some(config) = config.as_object() {
                    @for (name, value) in config {
                        dt { (name.replace('_', " ")) }
                        dd { @match value { serde_json::Value::String(text) => (text), other => (other.to_string()) } }
                    }
                }
            }
        }
    }
}

/// The day and the time of a Unix time in milliseconds, in UTC; a time that no calendar has is left out.
fn date(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX);
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp(seconds) else {
        return "at an unknown time".to_owned();
    };
    let (year, month, day) = at.to_calendar_date();
    format!(
        "{year}-{:02}-{day:02} {:02}:{:02} UTC",
        u8::from(month),
        at.hour(),
        at.minute()
    )
}

#[cfg(test)]
mod tests {
    use super::{Source, date, page};
    use crate::report::{Claim, Counts, Percentiles, Report, Row};
    use crate::results::Results;

    fn source() -> Source {
        let mut report = Report::begin("B0", "a <b>title</b>", std::env::temp_dir().as_path());
        let spread = Percentiles {
            p50: 11.0,
            p90: 12.0,
            p99: 13.0,
            p999: 14.0,
            max: 15.0,
        };
        report.rows = vec![
            Row::new("latency, 1 agent", 11.0, "µs", 9)
                .percentiles(spread)
                .counts(Counts {
                    sent: 3,
                    delivered: 2,
                    refused: 1,
                    lost: 0,
                })
                .note("says <script>")
                .at("what", "latency")
                .at("agents", 1),
            Row::new("latency, 16 agents", 44.0, "µs", 9)
                .at("what", "latency")
                .at("agents", 16),
        ];
        report.claims = vec![Claim::new("ggen", "fast")];
        Source {
            name: "r.json".to_owned(),
            results: Results::new(vec![report]),
        }
    }

    #[test]
    fn a_page_has_plots_tables_counts_claims_and_conditions() {
        let html = page(&[source()]);
        assert_eq!(html.matches("<figure>").count(), 2);
        assert_eq!(
            html.matches("<figcaption>").count(),
            html.matches("role=\"img\" aria-label=").count()
        );
        for part in [
            "latency (µs) by agents",
            "distributions (µs)",
            "goes from 11 µs at 1 agents to 44 µs at 16",
            "sent 3 = delivered 2 + refused 1 + lost 0",
            "ggen: fast",
            "durability",
            "debug build",
        ] {
            assert!(html.contains(part), "{part}");
        }
    }

    #[test]
    fn what_a_file_says_is_text_and_nothing_is_fetched() {
        let html = page(&[source(), source()]);
        assert!(!html.contains("<script") && html.contains("says &lt;script&gt;"));
        assert!(!html.contains("<b>title") && html.contains("B0: a &lt;b&gt;title&lt;/b&gt;"));
        let without_names = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!without_names.contains("http:") && !without_names.contains("https:") && !html.contains("src="));
        assert!(html.contains("default-src &#39;none&#39;") || html.contains("default-src 'none'"));
    }

    #[test]
    fn a_page_of_nothing_is_a_page() {
        let html = page(&[Source {
            name: "empty.json".to_owned(),
            results: Results::new(Vec::new()),
        }]);
        assert!(html.contains("0 reports of empty.json") && html.ends_with("</html>"));
    }

    #[test]
    fn dates_are_in_utc() {
        assert_eq!(date(1_709_210_096_789), "2024-02-29 12:34 UTC");
        assert_eq!(date(u64::MAX), "at an unknown time");
    }
}
