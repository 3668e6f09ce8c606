import { render } from "preact";

render(<p>tracker</p>, document.getElementById("app")!);
