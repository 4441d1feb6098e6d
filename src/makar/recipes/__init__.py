"""The typed recipe, the run folder, assembly and the plan. Nothing is imported here: recipes are read without torch."""
