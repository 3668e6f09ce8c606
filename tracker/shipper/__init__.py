"""Delivering spools to servers: one asyncio class (`shipper.Shipper`) and four hosts for it."""
