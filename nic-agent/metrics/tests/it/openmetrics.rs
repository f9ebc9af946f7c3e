//! A strict reader of OpenMetrics text, after the text format of OpenMetrics 1.0, that shares nothing with the
//! library that writes it. What the page never has (timestamps, exemplars, state sets) it refuses.

use std::collections::{BTreeMap, BTreeSet};

type Labels = Vec<(String, String)>;

/// A family as it was read.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) unit: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

/// One line with a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Reads a whole page, or says what is wrong with it.
pub(crate) fn read(text: &str) -> Result<Vec<Family>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let mut families: Vec<Family> = Vec::new();
    for line in body.lines() {
        match line.strip_prefix("# ") {
            Some(rest) => describe(&mut families, rest),
            None => sample(line).and_then(|sample| take(&mut families, sample)),
        }
        .map_err(|why| format!("{line:?}: {why}"))?;
    }
    let mut names = BTreeSet::new();
    for family in &families {
        check(family).map_err(|why| format!("{}: {why}", family.name))?;
        if !names.insert(&family.name) {
            return Err(format!("{} comes twice", family.name));
        }
    }
    Ok(families)
}

fn describe(families: &mut Vec<Family>, rest: &str) -> Result<(), String> {
    let mut words = rest.splitn(3, ' ');
    let (Some(word), Some(name), Some(text)) = (words.next(), words.next(), words.next()) else {
        return Err("three words are needed".to_owned());
    };
    if !is_name(name, true) {
        return Err(format!("{name} is no name"));
    }
    if families.last().is_none_or(|family| family.name != name) {
        families.push(Family { name: name.to_owned(), ..Family::default() });
    }
    let family = families.last_mut().ok_or("no family")?;
    if !family.samples.is_empty() {
        return Err("a description behind a sample".to_owned());
    }
    let field = match word {
        "HELP" => &mut family.help,
        "TYPE" => &mut family.kind,
        "UNIT" => &mut family.unit,
        _ => return Err(format!("{word} describes nothing")),
    };
    if !field.is_empty() {
        return Err(format!("a second {word}"));
    }
    text.clone_into(field);
    Ok(())
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let name = &line[..end];
    if !is_name(name, true) {
        return Err(format!("{name} is no name"));
    }
    let mut labels = BTreeMap::new();
    let mut rest = &line[end..];
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, behind) = inside.split_once("=\"").ok_or("no label")?;
            if !is_name(label, false) {
                return Err(format!("{label} is no label"));
            }
            let (value, behind) = quoted(behind)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err(format!("{label} comes twice"));
            }
            if let Some(behind) = behind.strip_prefix('}') {
                rest = behind;
                break;
            }
            inside = behind.strip_prefix(',').ok_or("no comma between labels")?;
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let value = value.parse().map_err(|_| format!("{value:?} is no value"))?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// A label's value up to its closing quote, and what is behind it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, escaped @ ('\\' | '"'))) => escaped,
                _ => return Err("an escape of nothing".to_owned()),
            }),
            other => value.push(other),
        }
    }
    Err("a label without an end".to_owned())
}

fn take(families: &mut [Family], sample: Sample) -> Result<(), String> {
    let family = families.last_mut().ok_or("a sample without a family")?;
    let suffixes: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_count", "_sum"],
        "info" => &["_info"],
        other => return Err(format!("the type {other:?}")),
    };
    if !suffixes.iter().any(|suffix| sample.name == format!("{}{suffix}", family.name)) {
        return Err(format!("it is not of the family {}", family.name));
    }
    if family.samples.iter().any(|other| other.name == sample.name && other.labels == sample.labels) {
        return Err("it comes twice".to_owned());
    }
    family.samples.push(sample);
    Ok(())
}

fn check(family: &Family) -> Result<(), String> {
    if family.help.is_empty() || family.kind.is_empty() {
        return Err("it lacks HELP or TYPE".to_owned());
    }
    if !family.unit.is_empty() && !family.name.ends_with(&format!("_{}", family.unit)) {
        return Err(format!("its name does not end with its unit {}", family.unit));
    }
    match family.kind.as_str() {
        "counter" if family.samples.iter().any(|it| it.value.is_nan() || it.value < 0.0) => {
            Err("a counter is negative".to_owned())
        }
        "info" if family.samples.iter().any(|it| it.value != 1.0) => Err("an info is not 1".to_owned()),
        "histogram" => histogram(family),
        _ => Ok(()),
    }
}

/// Buckets grow, the last one is infinite and holds all that were counted.
fn histogram(family: &Family) -> Result<(), String> {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for bucket in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = bucket.labels.clone();
        let bound = labels.remove("le").ok_or("a bucket without a bound")?;
        let bound = bound.parse().map_err(|_| format!("the bound {bound:?}"))?;
        series.entry(labels.into_iter().collect()).or_default().push((bound, bucket.value));
    }
    for (labels, buckets) in series {
        let grows = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let of = |suffix: &str| {
            let wanted: BTreeMap<String, String> = labels.iter().cloned().collect();
            let name = format!("{}{suffix}", family.name);
            family.samples.iter().find(|it| it.name == name && it.labels == wanted).map(|it| it.value)
        };
        let last = buckets.last().copied();
        if !grows || last.map(|it| it.0) != Some(f64::INFINITY) || last.map(|it| it.1) != of("_count") {
            return Err(format!("the buckets of {labels:?} do not add up"));
        }
        of("_sum").ok_or("no sum")?;
    }
    Ok(())
}

fn is_name(text: &str, metric: bool) -> bool {
    let mut bytes = text.bytes();
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (metric && byte == b':');
    bytes.next().is_some_and(first) && bytes.all(|byte| first(byte) || byte.is_ascii_digit())
}

#[test]
fn a_page_is_refused_for_what_is_wrong_with_it() {
    let head = "# HELP a_bytes Some.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n";
    let good = format!("{head}a_bytes_total{{x=\"1\\\"\\\\\\n\",y=\"\"}} 4\na_bytes_total 5\n# EOF\n");
    let families = read(&good).expect("it is right");
    assert_eq!(families[0].samples[0].labels["x"], "1\"\\\n");
    assert_eq!(families[0].samples[1].value, 5.0);
    for bad in [
        "".to_owned(),
        head.to_owned(),
        format!("{head}a_bytes_total 1\n# EOF\n\n"),
        format!("{head}a_bytes 1\n# EOF\n"),
        format!("{head}a_bytes_total -1\n# EOF\n"),
        format!("{head}a_bytes_total 1\na_bytes_total 2\n# EOF\n"),
        format!("{head}a_bytes_total one\n# EOF\n"),
        format!("{head}a_bytes_total{{x=1}} 1\n# EOF\n"),
        format!("{head}a_bytes_total{{x=\"1\"}}\n# EOF\n"),
        format!("{head}a_bytes_total{{x=\"1\",x=\"2\"}} 1\n# EOF\n"),
        format!("{head}a_bytes_total 1\n{head}# EOF\n"),
        format!("{}# EOF\n", head.replace("_bytes", "_bits")),
        "# TYPE a gauge\n# EOF\n".to_owned(),
        "a 1\n# EOF\n".to_owned(),
        "# HELP h x\n# TYPE h histogram\nh_sum 1.0\nh_count 2\nh_bucket{le=\"1.0\"} 2\n# EOF\n".to_owned(),
        "# HELP h x\n# TYPE h histogram\nh_sum 1.0\nh_count 2\nh_bucket{le=\"1.0\"} 3\nh_bucket{le=\"+Inf\"} 2\n# EOF\n"
            .to_owned(),
        "# HELP i x\n# TYPE i info\ni_info 2\n# EOF\n".to_owned(),
    ] {
        assert!(read(&bad).is_err(), "{bad}");
    }
}
