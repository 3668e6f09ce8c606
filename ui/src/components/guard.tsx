/** What stands in a view's place when drawing it fails: what happened and what to do. */
import { Component, type ComponentChildren } from "preact";

interface GuardState {
  error: Error | null;
}

export class Guard extends Component<{ children: ComponentChildren }, GuardState> {
  override state: GuardState = { error: null };

  override componentDidCatch(error: Error) {
    console.error(error);
    this.setState({ error });
  }

  override render() {
    const { error } = this.state;
    if (error === null) return this.props.children;
    return (
      <div class="state-view failed" role="alert">
        <h2>This page could not be drawn</h2>
        <p>{error.message}</p>
        <p class="faint">
          Nothing of what was logged is affected. Load the page anew; if it fails again, the address may ask
          for something that it cannot show.
        </p>
        <button type="button" onClick={() => location.reload()}>
          Load anew
        </button>{" "}
        <a class="button" href="/">
          All runs
        </a>
      </div>
    );
  }
}
