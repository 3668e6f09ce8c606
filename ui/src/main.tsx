import { render } from "preact";

import "./styles/base.css";
import "./styles/shell.css";
import "./styles/table.css";
import "./styles/charts.css";
import "./styles/pages.css";
import "uplot/dist/uPlot.min.css";
import { App } from "./app";
import { follow } from "./state/live";
import "./state/theme";

void follow(); // before the views ask, see state/live
render(<App />, document.getElementById("app")!);
