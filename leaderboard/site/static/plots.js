// Draws every specification of the page, in the colours of its theme.
window.drawPlot = async (element, spec) => {
  const style = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
  const dark = document.documentElement.dataset.theme === "dark";
  const config = {
    background: null,
    font: "system-ui, sans-serif",
    axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: 500 },
    legend: { labelColor: ink, titleColor: ink },
    title: { color: ink },
    header: { labelColor: ink, titleColor: ink },
    text: { color: ink },
    rule: { color: ink },
    view: { stroke: null },
    range: { category: dark
      ? ["#7fb0ff", "#ffb86b", "#57c973", "#ff8a80", "#c9a6ff", "#63d4d0"]
      : ["#1f5fbf", "#c76a00", "#1a7f37", "#b3261e", "#7a3fc4", "#0b7c80"] },
    mark: { color: dark ? "#7fb0ff" : "#1f5fbf" },
  };
  const actions = { export: true, source: false, compiled: false, editor: false };
  const loader = { load: () => Promise.reject(new Error("plots load nothing")) };
  await window.vegaEmbed(element, structuredClone(spec), { renderer: "svg", config, actions, loader });
};
(() => {
  const draw = () => {
    for (const source of document.querySelectorAll("script.spec")) {
      window.drawPlot(source.previousElementSibling, JSON.parse(source.textContent));
    }
  };
  addEventListener("DOMContentLoaded", draw);
  document.addEventListener("theme", () => { if (document.readyState !== "loading") draw(); });
})();
