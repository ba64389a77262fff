//! The loss curve as SVG: train and held-out loss over the steps. Text stays text, so no font is needed to draw it.

use crate::adapter::StepLoss;
use crate::data;
use crate::error::{AtPath, Code, Error, Result};
use plotters::prelude::*;
use std::io::Write as _;
use std::path::Path;

/// The curve's file, beside the adapter's.
pub const FILE_NAME: &str = "loss.svg";
const SIZE: (u32, u32) = (900, 480);
const TRAIN: RGBColor = RGBColor(0x1f, 0x5f, 0xa8);
const HELD_OUT: RGBColor = RGBColor(0xc2, 0x41, 0x0c);

/// Writes `loss.svg` into a folder; `before` is the held-out loss before the first step.
pub fn write(folder: &Path, title: &str, losses: &[StepLoss], before: Option<f64>) -> Result<()> {
    let mut text = String::new();
    draw(&mut text, title, losses, before).map_err(|e| Error::new(Code::Io, format!("the loss curve: {e}")))?;
    let path = folder.join(FILE_NAME);
    data::write_atomically(&path, |file| file.write_all(text.as_bytes()).at(&path))
}

fn draw(
    text: &mut String,
    title: &str,
    losses: &[StepLoss],
    before: Option<f64>,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let train: Vec<(f64, f64)> = losses.iter().map(|l| (l.step as f64, l.loss)).collect();
    let measured = losses.iter().filter_map(|l| Some((l.step as f64, l.held_out?)));
    let held_out: Vec<(f64, f64)> = before.map(|loss| (0.0, loss)).into_iter().chain(measured).collect();
    let top = train.iter().chain(&held_out).fold(0.0f64, |top, (_, loss)| top.max(*loss));
    let last = train.last().map_or(1.0, |(step, _)| *step);

    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last.max(1.0), 0.0..(top * 1.05).max(0.1))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style(("sans-serif", 14))
        .x_desc("optimiser step")
        .y_desc("loss a token (nats)")
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|loss| format!("{loss:.2}"))
        .draw()?;
    for (name, color, points) in [("train", TRAIN, train), ("held out", HELD_OUT, held_out)] {
        if points.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_both_lines_and_says_what_they_are() {
        let losses: Vec<StepLoss> = (1..=20)
            .map(|step| StepLoss { step, loss: 3.0 / step as f64, held_out: (step % 5 == 0).then_some(1.0) })
            .collect();
        let mut text = String::new();
        draw(&mut text, "helpdesk", &losses, Some(3.0)).unwrap();
        for word in ["<svg", "helpdesk", "train", "held out", "optimiser step", "nats", "</svg>"] {
            assert!(text.contains(word), "{word}");
        }
        draw(&mut String::new(), "one step", &losses[..1], None).unwrap();
    }
}
