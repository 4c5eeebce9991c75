"use strict";
const options = { mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, tooltip: false };

async function draw(figure) {
  const drawing = figure.querySelector(".drawing");
  const readout = figure.querySelector(".readout");
  const specification = JSON.parse(figure.querySelector("script").textContent);
  const steps = specification.datasets.steps;
  const key = Object.keys(steps[0])[0];
  const said = new Map(steps.map((row) => [row[key], row.said]));
  try {
    const { view } = await vegaEmbed(drawing, specification, options);
    view.addSignalListener("nearest", (_, chosen) => {
      readout.textContent = said.get(chosen[key]?.[0]) ?? steps.at(-1).said;
    });
  } catch (error) {
    drawing.textContent = `This chart could not be drawn: ${error.message}`;
  }
}

document.querySelectorAll("figure.chart").forEach(draw);
